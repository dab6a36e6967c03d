"""The HTTP app, in process: readiness, error bodies, metrics."""

import asyncio
import base64
import json

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.metrics import Metrics
from moorage_predictor.tasks.image_classification import ImageClassifier, Limits
from moorage_predictor.wire.dataplane import MoorageDataPlane
from moorage_predictor.wire.http import create_app
from moorage_predictor.wire.model import ClassifierModel


class TwoClasses:
    num_classes = 2
    data = DataConfig(input_size=(3, 4, 4), mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear", crop_pct=1.0)

    def forward(self, batch):
        if batch.max() > 1e6:
            raise RuntimeError("/secret/path: broken")
        return np.stack([batch.mean(axis=(1, 2, 3)), -batch.mean(axis=(1, 2, 3))], axis=1)


class Served:
    def __init__(self):
        self.metrics = Metrics(CollectorRegistry(), "cats", "1")
        self.model = ClassifierModel("cats", "1", max_image_bytes=10_000, metrics=self.metrics)
        app = create_app(MoorageDataPlane(self.model), self.metrics, max_body_bytes=20_000)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")

    def load(self):
        limits = Limits(10_000, 64)
        self.model.serve(ImageClassifier(TwoClasses(), ("light", "dark"), top_k=5, limits=limits))


@pytest.fixture
def served():
    return Served()


@pytest.fixture
def b64(encode):
    return base64.b64encode(encode(Image.new("RGB", (4, 4), "white"))).decode()


async def test_before_the_model_is_loaded_the_server_lives_and_is_not_ready(served, b64):
    assert (await served.client.get("/v2/health/live")).status_code == 200
    for path in ("/v2/health/ready", "/v2/models/cats/ready", "/v1/models/cats"):
        answer = await served.client.get(path)
        assert answer.status_code == 503, path
        assert list(answer.json()) == ["error"]
    answer = await served.client.post("/v1/models/cats:predict", json={"instances": [{"b64": b64}]})
    assert (answer.status_code, answer.json()) == (503, {"error": "the model cats is still loading"})
    assert answer.headers["retry-after"] == "1"


async def test_v1_answers_in_the_documented_shape(served, b64):
    served.load()
    answer = await served.client.post("/v1/models/cats:predict", json={"instances": [{"b64": b64}, {"b64": b64}]})
    assert answer.status_code == 200
    first, second = answer.json()["predictions"]
    assert [entry["class_name"] for entry in first["predictions"]] == ["light", "dark"]
    assert set(first["predictions"][0]) == {"class_id", "class_name", "confidence"}
    assert first["confidence_scores"] == [entry["confidence"] for entry in first["predictions"]]
    assert second["predictions"] == first["predictions"]


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "text/plain"])
async def test_json_is_json_whatever_the_content_type(served, b64, content_type):
    served.load()
    headers = {"content-type": content_type} if content_type else {}
    body = json.dumps({"instances": [{"b64": b64}]}).encode()
    answer = await served.client.post("/v1/models/cats:predict", content=body, headers=headers)
    assert answer.status_code == 200
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [b64]}
    body = json.dumps({"inputs": [tensor]}).encode()
    answer = await served.client.post("/v2/models/cats/infer", content=body, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", b"", 404),
        ("DELETE", "/v2/models/cats/infer", b"", 405),
        ("GET", "/v2/models/dogs", b"", 404),
        ("GET", "/v2/models/dogs/ready", b"", 404),
        ("POST", "/v2/models/dogs/infer", b"{}", 404),
        ("POST", "/v1/models/dogs:predict", b"{}", 404),
        ("POST", "/v2/repository/models/cats/unload", b"", 404),
        ("POST", "/v2/models/cats/infer", b"{", 400),
        ("POST", "/v2/models/cats/infer", b"", 400),
        ("POST", "/v2/models/cats/infer", b"[]", 400),
        ("POST", "/v1/models/cats:predict", b"text", 400),
        ("POST", "/v1/models/cats:predict", b"[]", 400),
        ("POST", "/v1/models/cats:predict", b"{}", 400),
        ("POST", "/v1/models/cats:predict", b" " * 20_001, 413),
    ],
)
async def test_every_error_is_an_error_body(served, method, path, body, status):
    served.load()
    answer = await served.client.request(method, path, content=body)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert isinstance(answer.json()["error"], str)


async def test_a_compressed_body_is_refused(served):
    served.load()
    answer = await served.client.post("/v1/models/cats:predict", content=b"x", headers={"content-encoding": "gzip"})
    assert answer.status_code == 415


async def test_a_body_without_a_length_is_cut_at_the_limit(served):
    served.load()

    async def chunks():
        for _ in range(30):
            yield b" " * 1000

    answer = await served.client.post("/v1/models/cats:predict", content=chunks())
    assert answer.status_code == 413


async def test_a_defect_says_nothing_about_us(served, caplog):
    served.load()
    tensor = {"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32", "data": [1e7] * 48}
    answer = await served.client.post("/v2/models/cats/infer", json={"inputs": [tensor]})
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
    assert "/secret/path" in caplog.text


async def test_metrics_count_by_protocol_and_code(served, b64):
    served.load()
    served.metrics.loaded(1.5)
    await served.client.post("/v1/models/cats:predict", json={"instances": [{"b64": b64}]})
    await served.client.post("/v1/models/cats:predict", json={})
    text = (await served.client.get("/metrics")).text
    label = 'model="cats",protocol="v1",version="1"'
    assert f'moorage_requests_total{{code="200",{label}}} 1.0' in text
    assert f'moorage_requests_total{{code="400",{label}}} 1.0' in text
    assert f"moorage_request_duration_seconds_count{{{label}}} 2.0" in text
    assert 'moorage_model_load_seconds{model="cats",version="1"} 1.5' in text
    assert 'moorage_model_ready{model="cats",version="1"} 1.0' in text
    served.model.drain()
    assert 'moorage_model_ready{model="cats",version="1"} 0.0' in (await served.client.get("/metrics")).text


async def test_the_metadata_tells_all_inputs_and_outputs(served):
    served.load()
    document = (await served.client.get("/v2/models/cats")).json()
    assert [(item["name"], item["datatype"], item["shape"]) for item in document["inputs"]] == [
        ("image", "BYTES", [-1]),
        ("image", "UINT8", [-1, -1, -1, 3]),
        ("image", "FP32", [-1, 3, 4, 4]),
    ]
    assert [(item["name"], item["datatype"], item["shape"]) for item in document["outputs"]] == [
        ("class_id", "INT64", [-1, 2]),
        ("confidence", "FP32", [-1, 2]),
        ("class_name", "BYTES", [-1, 2]),
        ("logits", "FP32", [-1, 2]),
    ]


@pytest.mark.parametrize("body", [b"", b'{"instances": []}', b"[]", b"\xff"], ids=repr)
async def test_a_broken_cloud_event_is_the_clients_mistake(served, body):
    served.load()
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-type": "t",
        "ce-source": "s",
        "ce-contenttype": "application/json",
    }
    answer = await served.client.post("/v1/models/cats:predict", content=body, headers=headers)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


async def test_a_stalled_body_is_given_up(served, monkeypatch):
    monkeypatch.setattr("moorage_predictor.wire.http._BODY_IDLE_S", 0.05)
    served.load()

    async def stalled():
        yield b"{"
        await asyncio.sleep(30)

    answer = await served.client.post("/v1/models/cats:predict", content=stalled())
    assert answer.status_code == 408


async def test_a_client_that_goes_is_no_defect_of_ours(served, caplog):
    served.load()

    app = served.client._transport.app
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/models/cats:predict", "raw_path": b"/v1/models/cats:predict", "query_string": b"", "root_path": "",
        "headers": [], "client": ("127.0.0.1", 1), "server": ("test", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    assert sent[0]["status"] == 499
    assert not caplog.records
