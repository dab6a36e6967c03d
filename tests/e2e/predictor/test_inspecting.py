"""Features and attention through every protocol: the same numbers, and the same picture."""

import base64
import json
import struct

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from tests.e2e.predictor.conftest import Predictor

TOKENS = 101
NAMES = ("features", "attention", "attention_overlay")


@pytest.fixture(scope="module")
def photo(photos):
    return (photos / "chelsea.png").read_bytes()


@pytest.fixture(scope="module")
def tiny(tiny_model):
    predictor = Predictor(model_dir=str(tiny_model))
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()


@pytest.fixture(scope="module")
def by_v1(tiny, photo):
    body = {
        "instances": [{"b64": base64.b64encode(photo).decode()}],
        "parameters": {"return_features": True, "return_attention": True, "return_attention_overlay": True},
    }
    (prediction,) = tiny.post("/v1/models/cats:predict", json=body).json()["predictions"]
    return prediction


def test_v1_has_them_beside_the_classes(by_v1):
    assert by_v1["predictions"]
    assert len(by_v1["features"]) == 64
    assert by_v1["attention_maps"]["shape"] == [1, TOKENS, TOKENS]
    weights = np.array(by_v1["attention_maps"]["data"])
    assert weights.shape == (1, TOKENS, TOKENS)
    assert np.abs(weights.sum(-1) - 1).max() < 1e-5


def test_v2_in_json_has_the_same(tiny, photo, by_v1):
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(photo).decode()]}
    body = {"inputs": [tensor], "outputs": [{"name": name} for name in NAMES]}
    outputs = {one["name"]: one for one in tiny.post("/v2/models/cats/infer", json=body).json()["outputs"]}
    assert outputs["attention"]["shape"] == [1, 1, TOKENS, TOKENS]
    assert np.allclose(outputs["features"]["data"], by_v1["features"], atol=1e-5)
    assert np.allclose(outputs["attention"]["data"], np.ravel(by_v1["attention_maps"]["data"]), atol=1e-5)
    assert outputs["attention_overlay"]["data"] == [by_v1["attention_overlay"]["b64"]]


def test_v2_in_bytes_has_the_same(tiny, photo, by_v1):
    part = struct.pack("<I", len(photo)) + photo
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(part)}}
    wanted = {"inputs": [tensor], "outputs": [{"name": name} for name in NAMES]}
    head = json.dumps({**wanted, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    answer = tiny.post("/v2/models/cats/infer", content=head + part, headers=headers)
    body = answer.content[int(answer.headers["inference-header-content-length"]) :]
    features, weights, picture = body[:256], body[256 : 256 + 4 * TOKENS**2], body[256 + 4 * TOKENS**2 + 4 :]
    assert np.allclose(np.frombuffer(features, "<f4"), by_v1["features"], atol=1e-5)
    assert np.allclose(np.frombuffer(weights, "<f4"), np.ravel(by_v1["attention_maps"]["data"]), atol=1e-5)
    assert picture == base64.b64decode(by_v1["attention_overlay"]["b64"])


def test_grpc_has_the_same(tiny, photo, by_v1):
    request = pb.ModelInferRequest(
        model_name="cats",
        inputs=[{"name": "image", "shape": [1], "datatype": "BYTES"}],
        outputs=[{"name": name} for name in NAMES],
    )
    request.parameters["attention_layer"].int64_param = -1
    request.raw_input_contents.append(struct.pack("<I", len(photo)) + photo)
    with grpc.insecure_channel(tiny.grpc) as channel:
        answer = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    features, weights, picture = answer.raw_output_contents
    assert np.allclose(np.frombuffer(features, "<f4"), by_v1["features"], atol=1e-5)
    assert np.allclose(np.frombuffer(weights, "<f4"), np.ravel(by_v1["attention_maps"]["data"]), atol=1e-5)
    assert picture[4:] == base64.b64decode(by_v1["attention_overlay"]["b64"])


def test_a_wrong_option_is_the_callers_mistake(tiny, photo):
    body = {"instances": [{"b64": base64.b64encode(photo).decode()}], "parameters": {"attention_layer": 99}}
    body["parameters"]["return_attention"] = True
    answer = tiny.post("/v1/models/cats:predict", json=body)
    assert answer.status_code == 400
    assert "attention_layer: expected -6 to 5, found 99" in answer.text


def test_the_configuration_says_what_the_network_is(tiny):
    told = tiny.get("/v2/models/cats/config").json()["parameters"]
    assert told["variant"]["string_value"] == "test_vit"
    assert told["total_parameters"]["string_value"] == "306890"
    assert told["device"]["string_value"] == "cpu"
