"""`moor init image`: what it trains is good, is served as it was trained, and looks at what it classifies."""

import base64
import io
import threading

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.e2e.predictor.conftest import Predictor
from tests.e2e.up.test_up import moor

from moorage.api.predictor import PredictorSettings
from moorage_predictor import loading
from moorage_predictor.scaffolds import figures, image
from moorage_predictor.tasks.image_classification import EncodedImages


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, and what the command said."""
    folder = tmp_path_factory.mktemp("init") / "image"
    done = moor("init", "image", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def loaded(folder, name):
    settings = PredictorSettings(task="image-classification", model_dir=str(folder / name))
    return loading.load(settings, lambda step: None, threading.Event())


def test_it_says_what_it_did_and_what_comes_next(made):
    folder, said = made
    lines = said.splitlines()
    assert "digits: training" in lines
    assert any(line.startswith(f"  {folder}/digits/model.safetensors  ") for line in lines)
    assert any(line.startswith("digits: accuracy 0.9") for line in lines)
    assert (
        f"  moor up {folder}/digits.yaml --model-root {folder}/digits --photo {folder}/digits-samples/seven.png"
        in lines
    )
    spec = yaml.safe_load((folder / "digits.yaml").read_text())["spec"]["model"]
    assert spec["storageUri"] == f"file://{folder}/digits"


def test_the_digits_are_read_right_and_served_as_offline(made):
    folder, _ = made
    pictures, classes = image.digits()
    _, held_out = image.split(classes)
    files = [png(pictures[index]) for index in held_out]
    offline = loaded(folder, "digits")(EncodedImages(tuple(files)))
    assert (offline.class_id[:, 0] == classes[held_out]).mean() >= 0.97
    predictor = Predictor(model_dir=str(folder / "digits"))
    try:
        predictor.until_ready()
        served = []
        for first in range(0, len(files), 60):
            instances = [{"b64": base64.b64encode(file).decode()} for file in files[first : first + 60]]
            served += predictor.post("/v1/models/cats:predict", json={"instances": instances}).json()["predictions"]
    finally:
        predictor.close()
    for row, prediction in enumerate(served):
        best = prediction["predictions"]
        assert [one["class_id"] for one in best] == offline.class_id[row].tolist()
        assert np.allclose([one["confidence"] for one in best], offline.confidence[row], atol=1e-5)
    assert served[0]["predictions"][0]["class_name"] in image.DIGITS


def test_the_transformers_attention_is_on_the_figures(made):
    folder, _ = made
    classifier = loaded(folder, "figures")
    others = figures.pictures(100, seed=99)
    answers = classifier(EncodedImages(tuple(png(each.pixels) for each in others)))
    assert (answers.class_id[:, 0] == [each.number for each in others]).mean() >= 0.9
    on_figure, area = image.attention_on_figure(classifier.inspect, others)
    assert on_figure >= 2 * area
