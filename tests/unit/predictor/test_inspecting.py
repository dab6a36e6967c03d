"""Requests that ask for features and attention, through the model as the protocols call it, alone and beside others."""

import asyncio
import base64
import io
import json
import threading

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from moorage.api.predictor import PredictorSettings
from moorage_predictor import loading
from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.datatypes import BYTES
from moorage_predictor.wire.json_answers import v1_body
from moorage_predictor.wire.messages import InferRequest, RequestedOutput, Tensor
from moorage_predictor.wire.model import ClassifierModel


@pytest.fixture
def model(model_dir):
    settings = PredictorSettings(task="image-classification", model_dir=str(model_dir))
    made = ClassifierModel(loading.load(settings, lambda step: None, threading.Event()), settings)
    yield made
    made.stop()


@pytest.fixture
def files(photos):
    return [(photos / name).read_bytes() for name in ("chelsea.png", "coffee.png", "rocket.jpg")]


def request(files, parameters=None, outputs=(), **more):
    array = np.empty(len(files), dtype=object)
    array[:] = files
    named = [RequestedOutput(name) for name in outputs] or None
    return InferRequest("m", [Tensor("image", [len(files)], BYTES, array)], "1", parameters, named, **more)


async def arrays(model, *args, **more):
    response = await model.predict(request(*args, **more))
    return {output.name: output.data for output in response.outputs}


def instances(files, **parameters):
    body = {"instances": [{"b64": base64.b64encode(file).decode()} for file in files]}
    return {**body, "parameters": parameters} if parameters else body


async def test_v2_gives_each_image_its_features_and_its_attention(model, files):
    found = await arrays(model, files, {"return_features": True, "return_attention": True})
    assert found["features"].shape == (3, 64)
    assert found["attention"].shape == (3, 1, 101, 101)
    assert np.abs(found["attention"].sum(-1) - 1).max() < 1e-5
    usual = await arrays(model, files)
    assert np.array_equal(found["class_id"], usual["class_id"])
    assert np.allclose(found["confidence"], usual["confidence"], atol=1e-6)


async def test_outputs_that_are_named_come_alone(model, files):
    assert list(await arrays(model, files, outputs=["attention", "class_id"])) == ["attention", "class_id"]


async def test_normalised_features_have_length_1_and_the_same_direction(model, files):
    plain = (await arrays(model, files, outputs=["features"]))["features"]
    found = (await arrays(model, files, {"normalize_features": True}, ["features"]))["features"]
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.allclose(found * np.linalg.norm(plain, axis=1, keepdims=True), plain, atol=1e-4)


async def test_a_map_has_the_size_of_the_networks_input(model, files):
    found = await arrays(model, files[:1], {"attention_form": "map", "attention_heads": "each"}, ["attention"])
    assert found["attention"].shape == (1, 2, 160, 160)


async def test_in_json_a_picture_is_base64_and_in_bytes_the_file(model, files):
    (text,) = (await arrays(model, files[:1], outputs=["attention_overlay"])).values()
    (raw,) = (await arrays(model, files[:1], {"binary_data_output": True}, ["attention_overlay"])).values()
    (rpc,) = (await arrays(model, files[:1], outputs=["attention_overlay"], from_grpc=True)).values()
    assert raw[0] == base64.b64decode(text[0], validate=True) == rpc[0]
    with Image.open(io.BytesIO(raw[0])) as picture:
        assert (picture.format, picture.size) == ("PNG", (480, 480))


async def test_fewer_classes_and_only_sure_ones(model, files):
    usual = await arrays(model, files)
    found = await arrays(model, files, {"top_k": 3})
    assert np.array_equal(found["class_id"], usual["class_id"][:, :3])
    least = float(usual["confidence"][0, 1])
    sure = await arrays(model, files[:1], {"confidence_threshold": least})
    assert sure["class_id"].tolist() == [[*usual["class_id"][0, :2].tolist(), -1, -1, -1]]
    assert sure["confidence"][0, 2:].tolist() == [0, 0, 0]
    assert sure["class_name"][0, 2:].tolist() == ["", "", ""]
    (prediction,) = (await model.predict(instances(files[:1], confidence_threshold=least)))["predictions"]
    assert [one["class_id"] for one in prediction["predictions"]] == usual["class_id"][0, :2].tolist()
    assert len(prediction["confidence_scores"]) == 2


async def test_settings_say_which_classes_are_sure_enough_unless_a_request_does(model, files, model_dir):
    usual = await arrays(model, files[:1])
    least = float(usual["confidence"][0, 1])
    settings = PredictorSettings(
        task="image-classification", model_dir=str(model_dir), confidence_threshold=least, features="off"
    )
    strict = ClassifierModel(loading.load(settings, lambda step: None, threading.Event()), settings)
    sure = [*usual["class_id"][0, :2].tolist(), -1, -1, -1]
    assert (await arrays(strict, files[:1]))["class_id"].tolist() == [sure]
    (prediction,) = (await strict.predict(instances(files[:1])))["predictions"]
    assert [one["class_id"] for one in prediction["predictions"]] == sure[:2]
    found = await arrays(strict, files[:1], {"confidence_threshold": 0})
    assert np.array_equal(found["class_id"], usual["class_id"])
    assert len((await arrays(strict, files[:1], {"top_k": 3}))["class_id"][0]) == 3
    strict.stop()


async def test_v1_answers_in_the_documented_shape(model, files):
    body = instances(files, return_features=True, return_attention=True, return_attention_overlay=True)
    predictions = (await model.predict(body))["predictions"]
    expected = await arrays(model, files, {"return_features": True, "return_attention": True})
    for row, prediction in enumerate(predictions):
        assert np.allclose(prediction["features"], expected["features"][row], atol=1e-5)
        assert prediction["attention_maps"]["shape"] == [1, 101, 101]
        assert np.allclose(prediction["attention_maps"]["data"], expected["attention"][row], atol=1e-5)
        assert base64.b64decode(prediction["attention_overlay"]["b64"]).startswith(b"\x89PNG")
    (usual, *_) = (await model.predict(instances(files)))["predictions"]
    assert set(usual) == {"predictions", "confidence_scores", "processing_time"}


async def test_requests_that_ask_for_different_things_at_once_get_what_each_asked_for(model, files):
    kinds = [
        ({}, ()),
        ({"return_features": True}, ()),
        ({"features": "pooled", "normalize_features": True}, ("features",)),
        ({"attention_layer": 0}, ("attention",)),
        ({"attention_layer": 0, "attention_heads": "each"}, ("attention",)),
        ({"attention_layer": 5, "attention_form": "map"}, ("attention", "features")),
        ({"top_k": 2}, ()),
        ({"confidence_threshold": 0.11}, ("confidence", "logits")),
    ]
    asked = [(parameters, outputs, files[turn % 3]) for turn in range(6) for parameters, outputs in kinds]
    alone = [await arrays(model, [file], parameters, outputs) for parameters, outputs, file in asked]
    sizes = []
    model.observed_by(lambda rows, waited, ran, items: sizes.append(rows))
    together = await asyncio.gather(
        *(arrays(model, [file], parameters, outputs) for parameters, outputs, file in asked)
    )
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            assert array.shape == other[name].shape
            assert np.array_equal(array, other[name]) or np.allclose(array, other[name], atol=1e-5)
    assert max(sizes) > 1  # they did share passes where they could


async def test_json_holds_fewer_weights_than_bytes(model, files):
    many = [files[2]] * 42
    maps = {"attention_form": "map", "attention_heads": "each"}
    told = "at most 2097152 values in one answer in JSON, found 2150400: send fewer images, or ask for bytes"
    with pytest.raises(InvalidInput, match=told):
        await model.predict(instances(many, return_attention=True, **maps))
    for more in ({}, {"from_grpc": True}):  # gRPC's typed contents are one number after the other
        with pytest.raises(InvalidInput, match=told):
            await arrays(model, many, maps, ["attention"], **more)
    in_bytes = {**maps, "binary_data_output": True}
    assert (await arrays(model, many, in_bytes, ["attention"]))["attention"].shape == (42, 2, 160, 160)
    assert (await arrays(model, many, maps, ["attention"], from_grpc=True, raw=True))["attention"].size == 2150400


async def test_a_large_v1_answer_is_written_in_pieces_to_the_same_json(model, files):
    found = await model.predict(instances(files[:1] * 7, return_attention=True))
    assert model.bulky(found)
    assert not model.bulky(await model.predict(instances(files[:1] * 6, return_attention=True)))
    assert not model.bulky(await model.predict(instances(files)))
    written = json.loads(v1_body(found))["predictions"]
    assert len(written) == 7
    for prediction in written:
        weights = np.array(prediction["attention_maps"]["data"])
        assert weights.shape == (1, 101, 101)
        assert np.abs(weights.sum(-1) - 1).max() < 1e-5


def test_the_metadata_names_what_may_be_asked_for(model):
    more = {output["name"]: output["shape"] for output in model.get_output_types()}
    assert (more["features"], more["attention"], more["attention_overlay"]) == ([-1, 64], [-1, 1, 101, 101], [-1])


def test_the_configuration_says_what_it_is_and_how_large(model):
    told = model.parameters()
    assert (told["variant"], told["total_parameters"], told["model_size_mb"]) == ("test_vit", "306890", "1.2")


async def test_a_network_without_a_classifier_gives_features_to_everybody(model_dir, tiny_state, files):
    headless = {key: value for key, value in tiny_state.items() if not key.startswith("head.")}
    save_file(headless, model_dir / "model.safetensors")
    (model_dir / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 0}))
    settings = PredictorSettings(task="image-classification", model_dir=str(model_dir))
    model = ClassifierModel(loading.load(settings, lambda step: None, threading.Event()), settings)
    try:
        assert [output["name"] for output in model.get_output_types()] == ["features", "attention", "attention_overlay"]
        (features,) = (await arrays(model, files)).values()
        assert features.shape == (3, 64)
        (prediction, *_) = (await model.predict(instances(files)))["predictions"]
        assert prediction["predictions"] == []
        assert np.allclose(prediction["features"], features[0], atol=1e-5)
        assert list(await arrays(model, files, outputs=["attention"])) == ["attention"]
        with pytest.raises(
            InvalidInput, match="expected some of features, attention, attention_overlay, found 'logits'"
        ):
            await model.predict(request(files, outputs=["logits"]))
        with pytest.raises(InvalidInput, match="top_k: this network has no classes"):
            await model.predict(request(files, {"top_k": 1}))
    finally:
        model.stop()


async def test_a_network_that_only_looks_like_those_with_attention_offers_none_and_refuses_it(tmp_path, files):
    save_file(timm.create_model("convit_tiny", num_classes=3).state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "convit_tiny", "num_classes": 3}))
    settings = PredictorSettings(task="image-classification", model_dir=str(tmp_path))
    model = ClassifierModel(loading.load(settings, lambda step: None, threading.Event()), settings)
    try:
        assert {output["name"] for output in model.get_output_types()}.isdisjoint({"attention", "attention_overlay"})
        with pytest.raises(InvalidInput, match="attention: this network is no transformer that attends over all"):
            await model.predict(request(files[:1], {"return_attention": True}))
        assert (await arrays(model, files[:1], outputs=["features"]))["features"].shape == (1, 192)
    finally:
        model.stop()
