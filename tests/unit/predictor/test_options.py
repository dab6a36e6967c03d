"""What a request to an image classifier may ask for, and in which words it is told that it may not."""

import json
import threading

import pytest
from safetensors.torch import save_file

from moorage.api.predictor import PredictorSettings
from moorage_predictor import loading
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import PLAIN, Asked, Attention, ImageClassifier
from moorage_predictor.wire import v1
from moorage_predictor.wire.options import asked


@pytest.fixture(scope="module")
def classify(tmp_path_factory, tiny_state):
    """Classifiers of test_vit (101 tokens, 2 heads, 6 layers) by their settings."""
    folder = tmp_path_factory.mktemp("model")
    save_file(tiny_state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 10}))

    def made(**changes) -> ImageClassifier:
        settings = PredictorSettings(task="image-classification", model_dir=str(folder), **changes)
        return loading.load(settings, lambda step: None, threading.Event())

    return made


@pytest.fixture(scope="module")
def classifier(classify):
    return classify()


def test_who_asks_for_nothing_goes_the_usual_way(classifier):
    assert asked(None, (), classifier) is PLAIN
    assert asked({}, ("class_id", "logits"), classifier) is PLAIN
    assert asked({"binary_data_output": True, "timeout": 5, "priority": 1}, (), classifier) is PLAIN


def test_the_usual_features_and_attention(classifier):
    found = asked({"return_features": True, "return_attention": True}, (), classifier)
    assert found == Asked(features="cls", attention=Attention())
    assert asked(None, ("features", "attention"), classifier) == found


def test_everything_at_once(classifier):
    given = {
        "top_k": 3,
        "confidence_threshold": 0.5,
        "return_features": True,
        "features": "pooled",
        "normalize_features": True,
        "return_attention": True,
        "return_attention_overlay": True,
        "attention_layer": 0,
        "attention_heads": "each",
        "attention_registers": False,
        "attention_form": "map",
    }
    assert asked(given, (), classifier) == Asked(
        3, 0.5, "pooled", True, Attention(0, per_head=True, registers=False, form="map", overlay=True)
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"top_k": 0}, "parameters.top_k: expected an integer from 1 to 10, found 0"),
        ({"top_k": 11}, "parameters.top_k: expected an integer from 1 to 10, found 11"),
        ({"top_k": True}, "parameters.top_k: expected an integer from 1 to 10, found True"),
        ({"confidence_threshold": 1.5}, "parameters.confidence_threshold: expected a number from 0 to 1, found 1.5"),
        (
            {"confidence_threshold": "0.5"},
            "parameters.confidence_threshold: expected a number from 0 to 1, found '0.5'",
        ),
        ({"return_features": 1}, "parameters.return_features: expected true or false, found 1"),
        ({"features": "mean"}, "parameters.features: expected cls or pooled, found 'mean'"),
        ({"attention_heads": "all"}, "parameters.attention_heads: expected mean or each, found 'all'"),
        ({"attention_form": []}, "parameters.attention_form: expected tokens or map, found []"),
        ({"attention_layer": 1.0}, "parameters.attention_layer: expected an integer, found 1.0"),
        (
            {"attention_layer": 6, "return_attention": True},
            "parameters.attention_layer: expected -6 to 5, found 6",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_value_is_refused_with_what_was_expected(classifier, given, told):
    with pytest.raises(InvalidInput) as caught:
        asked(given, (), classifier)
    assert str(caught.value) == told


def test_more_weights_than_an_answer_may_hold_are_refused(classifier):
    each = Asked(attention=Attention(per_head=True))
    classifier.pass_of(each, images=64)
    with pytest.raises(InvalidInput, match="attention: expected at most 16777216 values in one answer, found"):
        classifier.pass_of(each, images=1000)
    with pytest.raises(InvalidInput, match="attention: expected at most 16777216 values"):
        classifier.pass_of(Asked(attention=Attention(per_head=True, form="map")), images=400)  # of 160x160 pixels


def test_fewer_may_be_written_out_than_sent_as_they_are(classifier):
    made = asked({"return_attention": True, "attention_heads": "each"}, (), classifier, as_text=True)
    classifier.pass_of(made, images=64)
    with pytest.raises(
        InvalidInput, match=r"expected at most 2097152 values in one answer in JSON, found .*, or ask for bytes"
    ):
        classifier.pass_of(made, images=110)
    drawn = asked({"return_attention_overlay": True, "attention_heads": "each"}, (), classifier, as_text=True)
    classifier.pass_of(drawn, images=110)  # of which no number is sent
    assert classifier.weights_of(made, 1) == 4 * classifier.weights_of(drawn, 1)  # text is as much larger


def test_in_v1_a_name_that_means_nothing_is_refused(classifier):
    with pytest.raises(InvalidInput, match=r"parameters: expected some of attention_form, .*, found \['topk'\]"):
        v1.parameters_of({"instances": [], "parameters": {"topk": 1}})
    with pytest.raises(InvalidInput, match="parameters: expected an object"):
        v1.parameters_of({"instances": [], "parameters": [1]})
    assert v1.parameters_of({"instances": []}) is None


def test_a_server_that_keeps_nothing_to_look_into_says_how_it_would(classify):
    closed = classify(features="off")
    with pytest.raises(InvalidInput, match="features: this server does not give them; --features=on"):
        asked({"return_features": True}, (), closed)
    with pytest.raises(InvalidInput, match="attention: this server does not give them; --features=on"):
        asked({"return_attention": True}, (), closed)
