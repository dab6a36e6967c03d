"""Classes of the user's own through `--task path/to/file.py:Class`, unchanged: KServe's documented example, and models
that block, refuse, fail and forget to say that they are ready.
"""

import base64
import importlib.util
import json
import os
import struct
import threading

import grpc
import httpx
import numpy as np
import pytest
import torch
from tests.e2e.predictor.conftest import PATIENCE_S, ROOT, Predictor

from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

MODELS = ROOT / "tests" / "data" / "models"
PREDICT, INFER = "/v1/models/cats:predict", "/v2/models/cats/infer"


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory):
    """A cache with weights under the name that torchvision looks for, so that nothing is downloaded."""
    from torchvision import models

    home = tmp_path_factory.mktemp("torch")
    file = home / "hub" / "checkpoints" / models.AlexNet_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in models.alexnet(weights=None).state_dict().items()}
    torch.save({name: _few_numbers(shape) for name, shape in shapes.items()}, file)
    return home


def _few_numbers(shape):
    """A tensor of the shape whose rows are each one random number, so that 61 million of them are a small file."""
    if len(shape) == 1 or shape[1] == 3:
        return torch.randn(shape) / 10
    return (torch.randn(shape[0]) / 30).reshape(-1, *[1] * (len(shape) - 1)).expand(shape)


@pytest.fixture(scope="module")
def offline(torch_home, photos):
    """The five best logits of a photo, by a forward pass in this process."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(torch_home / "hub")
    spec = importlib.util.spec_from_file_location("alexnet_offline", MODELS / "alexnet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.AlexNetModel("offline")
    torch.hub.set_dir(before)
    with module.Image.open(photos / "chelsea.png") as photo:
        return model.best(photo)[0].numpy()


@pytest.fixture(scope="module", params=["AlexNetModel", "AlexNetWithHeaders"])
def alexnet(request, torch_home):
    environment = {"TORCH_HOME": str(torch_home)}
    predictor = Predictor(env=environment, task=f"{MODELS / 'alexnet.py'}:{request.param}")
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()


@pytest.fixture(scope="module", params=["Moody", "MoodyCoroutine"])
def moody(request):
    predictor = Predictor(task=f"{os.path.relpath(MODELS / 'moody.py')}:{request.param}")
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()


def close_to(found, expected):
    return np.allclose(np.ravel(found), expected, atol=1e-4)


def test_kserves_documented_example_answers_as_it_does_offline(alexnet, offline, photos):
    photo = (photos / "chelsea.png").read_bytes()
    b64 = base64.b64encode(photo).decode()
    answer = alexnet.post(PREDICT, json={"instances": [{"image": {"b64": b64}}]})
    assert answer.status_code == 200, answer.text
    assert close_to(answer.json()["predictions"], offline)
    asked_headers = {"x-photo-model": "alexnet"} if "WithHeaders" in alexnet.settings.task else {}
    assert {name: answer.headers[name] for name in asked_headers} == asked_headers

    tensor = {"name": "input-0", "datatype": "BYTES", "shape": [1]}
    answer = alexnet.post(INFER, json={"id": "7", "inputs": [{**tensor, "data": [b64]}]})
    (output,) = answer.json()["outputs"]
    assert (answer.json()["id"], output["name"], output["shape"]) == ("7", "output-0", [1, 5])
    assert close_to(output["data"], offline)
    assert {name: answer.headers[name] for name in asked_headers} == asked_headers

    part = struct.pack("<I", len(photo)) + photo
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(part)}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = alexnet.post(INFER, content=head + part, headers=headers)
    assert close_to(answer.json()["outputs"][0]["data"], offline)

    with grpc.insecure_channel(alexnet.grpc) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )
        raw = infer(pb.ModelInferRequest(model_name="cats", inputs=[tensor], raw_input_contents=[part]))
        assert close_to(np.frombuffer(raw.raw_output_contents[0], "<f4"), offline)
        contents = {"contents": {"bytes_contents": [photo]}}
        typed = infer(pb.ModelInferRequest(model_name="cats", inputs=[{**tensor, **contents}]))
        assert close_to(typed.outputs[0].contents.fp32_contents, offline)


def test_a_wrong_request_is_refused_by_the_example_itself(alexnet):
    answer = alexnet.post(PREDICT, json={"instances": [{"picture": 1}]})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ARGUMENT")
    assert "expected instances[0].image.b64" in answer.json()["error"]


def test_a_model_that_says_not_ready_after_loading_is_served(moody):
    assert moody.get("/v2/models/cats/ready").status_code == 200
    assert moody.post(PREDICT, json={"instances": [1]}).json() == {"predictions": [1]}
    assert moody.until_logged("the model says ready=False after load(); it is served")


def test_health_is_answered_while_a_model_blocks(moody):
    answers = []

    def ask():
        answers.append(moody.post(PREDICT, json={"instances": [{"sleep": 1}]}))

    working = threading.Thread(target=ask)
    during = []
    with httpx.Client(base_url=moody.url, timeout=PATIENCE_S) as client:
        client.get("/v2/health/live")
        working.start()
        while working.is_alive():
            for path in ("/v2/health/live", "/v2/models/cats/ready", "/metrics"):
                status = client.get(path).status_code
                if not answers:
                    during.append(status)
    assert answers[0].json() == {"predictions": [{"sleep": 1}]}
    assert len(during) > 5
    assert set(during) == {200}


def test_the_models_own_refusal_is_the_clients_mistake(moody):
    answer = moody.post(PREDICT, json={"instances": ["refuse"]})
    assert answer.status_code == 400
    assert answer.json() == {"error": "instances[0]: this one I do not like", "code": "INVALID_ARGUMENT"}


@pytest.mark.parametrize("order", ["fail", "exit"])
def test_a_models_failure_tells_the_client_nothing_and_the_log_everything(moody, order):
    answer = moody.post(PREDICT, json={"instances": [order]})
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "the model cats failed; the server's log has the reason",
        "code": "INTERNAL",
    }
    logged = moody.until_logged({"fail": "hunter2", "exit": "SystemExit"}[order])
    assert all('"the model failed"' in line for line in logged)
    assert any("moody.py" in line for line in logged)
    assert moody.post(PREDICT, json={"instances": [2]}).json() == {"predictions": [2]}
