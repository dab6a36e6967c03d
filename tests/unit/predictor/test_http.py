"""The HTTP application, in process: paths, error bodies, readiness, metrics, settings, compression, events."""

import base64
import gzip
import json
import re
import zlib

import numpy as np
import pytest
from kserve import InferOutput, InferResponse, Model
from PIL import Image
from tests.unit.predictor.served import Echo, InProcess

from moorage.api.limits import RequestLimits
from moorage.api.predictor import PredictorSettings
from moorage_predictor.engine.config import DataConfig
from moorage_predictor.tasks.image_classification import ImageClassifier, Limits
from moorage_predictor.wire.http.endpoints import ENDPOINTS
from moorage_predictor.wire.model import ClassifierModel

INFER, PREDICT = "/v2/models/cats/infer", "/v1/models/cats:predict"
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.5]}


class TwoClasses:
    num_classes = 2
    data = DataConfig(input_size=(3, 4, 4), mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear", crop_pct=1.0)

    def forward(self, batch, threads=None):
        if batch.max() > 1e6:
            raise RuntimeError("/secret/path: broken")
        return np.stack([batch.mean(axis=(1, 2, 3)), -batch.mean(axis=(1, 2, 3))], axis=1)


def classifier():
    made = ImageClassifier(TwoClasses(), ("light", "dark"), top_k=5, limits=Limits(10_000, 64))
    settings = PredictorSettings(
        model_name="cats", task="image-classification", model_dir="none", max_image_bytes=10_000
    )
    return ClassifierModel(made, settings)


@pytest.fixture
async def serve():
    """Makes applications whose models are let go after the test."""
    made = []

    def make(model=None, **options):
        made.append(InProcess(model, **options))
        return made[-1]

    yield make
    for one in made:
        await one.served.unload()


@pytest.fixture
def b64(encode):
    return base64.b64encode(encode(Image.new("RGB", (4, 4), "white"))).decode()


def check_error(answer, status, code=None, text=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error", "code"]
    assert isinstance(body["error"], str)
    if code:
        assert body["code"] == code
    if text:
        assert text in body["error"]


async def test_before_the_model_is_loaded_the_server_lives_and_is_not_ready(serve, b64):
    app = serve()
    assert (await app.get("/v2/health/live")).json() == {"live": True}
    assert (await app.get("/")).json() == {"status": "alive"}
    answer = await app.get("/v2/health/ready")
    why = {"error": "the model cats is still loading", "code": "MODEL_NOT_READY"}
    assert (answer.status_code, answer.json()) == (503, {"ready": False, **why})
    for path in ("/v2/models/cats/ready", "/v1/models/cats"):
        answer = await app.get(path)
        check_error(answer, 503, "MODEL_NOT_READY", "the model cats is still loading")
        assert answer.headers["retry-after"] == "1"
    answer = await app.post(PREDICT, json={"instances": [{"b64": b64}]})
    check_error(answer, 503, "MODEL_NOT_READY", "the model cats is still loading")
    assert answer.headers["retry-after"] == "1"
    assert (await app.get("/v2/models/cats")).json()["inputs"] == []


async def test_once_it_is_loaded_every_way_to_ask_says_so(serve):
    app = serve(Echo())
    assert (await app.get("/v2/health/ready")).json() == {"ready": True}
    for path in ("/v2/models/cats/ready", "/v2/models/cats/versions/1/ready", "/v1/models/cats"):
        assert (await app.get(path)).json() == {"name": "cats", "ready": True}
    for path in ("/v1/models", "/v2/models"):
        assert (await app.get(path)).json() == {"models": ["cats"]}
    app.repository.hold_back("worker 1 ended 3 times")
    assert (await app.get("/v2/health/ready")).json()["error"] == "worker 1 ended 3 times"
    check_error(await app.get("/v2/models/cats/ready"), 503, "MODEL_NOT_READY", "worker 1 ended 3 times")
    check_error(await app.get("/v1/models/cats"), 503, "MODEL_NOT_READY", "worker 1 ended 3 times")
    assert (await app.post(PREDICT, json={"instances": [1]})).status_code == 200
    app.repository.hold_back(None)
    assert (await app.get("/v2/health/ready")).status_code == 200
    app.served.drain()
    assert (await app.get("/v2/health/ready")).status_code == 503
    check_error(await app.get("/v2/models/cats/ready"), 503, "MODEL_NOT_READY", "the model cats is stopping")


async def test_v1_answers_in_the_documented_shape(serve, b64):
    app = serve(classifier())
    answer = await app.post(PREDICT, json={"instances": [{"b64": b64}, {"b64": b64}]})
    assert answer.status_code == 200
    first, second = answer.json()["predictions"]
    assert [entry["class_name"] for entry in first["predictions"]] == ["light", "dark"]
    assert set(first["predictions"][0]) == {"class_id", "class_name", "confidence"}
    assert first["confidence_scores"] == [entry["confidence"] for entry in first["predictions"]]
    assert second["predictions"] == first["predictions"]


async def test_an_image_alone_is_a_request_over_v1_and_v2(serve, b64):
    app = serve(classifier())
    image = base64.b64decode(b64)
    plain = (await app.post(PREDICT, json={"instances": [{"b64": b64}]})).json()["predictions"][0]["predictions"]
    answer = await app.post(PREDICT, content=image, headers={"content-type": "image/png"})
    assert answer.json()["predictions"][0]["predictions"] == plain
    answer = await app.post(INFER, content=image, headers={"content-type": "image/png"})
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    assert outputs["class_name"] == ["light", "dark"]
    answer = await app.post(INFER, content=image, headers={"inference-header-content-length": "0"})
    head = json.loads(answer.content[: int(answer.headers["inference-header-content-length"])])
    assert all(output["parameters"]["binary_data_size"] for output in head["outputs"])
    assert answer.content.endswith(b"\x05\0\0\0light\x04\0\0\0dark")
    check_error(
        await app.post(PREDICT, headers={"content-type": "image/png"}), 400, None, "an image file, found 0 bytes"
    )


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "text/plain"])
async def test_json_is_json_whatever_the_content_type(serve, content_type):
    app = serve(Echo())
    headers = {"content-type": content_type} if content_type else {}
    for path, body in ((PREDICT, {"instances": [1]}), (INFER, {"inputs": [TENSOR]})):
        assert (await app.post(path, content=json.dumps(body).encode(), headers=headers)).status_code == 200


async def test_every_path_of_the_table_answers(serve):
    app = serve(Echo(), control=True, load=Echo)
    assert len({(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}) == len(ENDPOINTS)
    for endpoint in ENDPOINTS:
        path = endpoint.path.format(name="cats", version="1")
        body = {"instances": [1], "inputs": [TENSOR]} if endpoint.handler == "predict" else {}
        answer = await app.client.request(endpoint.method, path, json=body if endpoint.method == "POST" else None)
        expected = 501 if path.endswith(":explain") else 200
        assert answer.status_code == expected, (endpoint, answer.text)
        if endpoint.method == "GET":
            head = await app.client.head(path)
            assert (head.status_code, head.headers["content-type"]) == (200, answer.headers["content-type"])
        wrong = await app.client.request("DELETE", path)
        check_error(wrong, 405, "METHOD_NOT_ALLOWED", f"{path}: expected ")
        allowed = wrong.headers["allow"].split(", ")
        assert endpoint.method in allowed
        assert len(allowed) == len(set(allowed))
        if endpoint.handler == "unload":
            await app.post("/v2/repository/models/cats/load")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/models/cats/", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/models/cats/../../metrics", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/models/ca%00ts", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/models/dogs", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/models/dogs/ready", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/models/cats/versions/2", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/models/dogs/config", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/models/dogs/stats", b"", 404, "NOT_FOUND"),
        ("GET", "/v2/models/dogs/trace/setting", b"", 404, "NOT_FOUND"),
        ("GET", "/v1/models/dogs", b"", 404, "NOT_FOUND"),
        ("POST", "/v2/models/dogs/infer", b"{}", 404, "NOT_FOUND"),
        ("POST", "/v2/models/cats/versions/2/infer", b"{}", 404, "NOT_FOUND"),
        ("POST", "/v1/models/dogs:predict", b"{}", 404, "NOT_FOUND"),
        ("DELETE", INFER, b"", 405, "METHOD_NOT_ALLOWED"),
        ("GET", INFER, b"", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/v2/health/live", b"", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/v2/repository/models/cats/load", b"", 403, "PERMISSION_DENIED"),
        ("POST", "/v2/repository/models/cats/unload", b"", 403, "PERMISSION_DENIED"),
        ("POST", "/v2/trace/setting", b"{}", 403, "PERMISSION_DENIED"),
        ("POST", "/v2/models/cats/trace/setting", b"{}", 403, "PERMISSION_DENIED"),
        ("POST", "/v2/logging", b"{}", 403, "PERMISSION_DENIED"),
        ("POST", "/v2/repository/index", b'{"ready": 1}', 400, "INVALID_ARGUMENT"),
        ("POST", "/v2/repository/index", b"[]", 400, "INVALID_ARGUMENT"),
        ("POST", INFER, b"{", 400, "INVALID_ARGUMENT"),
        ("POST", INFER, b"", 400, "INVALID_ARGUMENT"),
        ("POST", INFER, b"[]", 400, "INVALID_ARGUMENT"),
        ("POST", INFER, b"{}", 400, "INVALID_ARGUMENT"),
        ("POST", PREDICT, b"text", 400, "INVALID_ARGUMENT"),
        ("POST", PREDICT, b"[]", 400, "INVALID_ARGUMENT"),
        ("POST", PREDICT, b"{}", 400, "INVALID_ARGUMENT"),
        ("POST", PREDICT, b'{"instances": {"a": 1}}', 400, "INVALID_ARGUMENT"),
        ("POST", PREDICT, b'{"instances": null}', 400, "INVALID_ARGUMENT"),
        ("POST", "/v1/models/cats:explain", b'{"instances": [1]}', 501, "UNIMPLEMENTED"),
        ("POST", PREDICT, b" " * 20_001, 413, "RESOURCE_EXHAUSTED"),
        ("POST", "/v2/repository/index", b" " * 20_001, 413, "RESOURCE_EXHAUSTED"),
    ],
)  # fmt: skip
async def test_every_error_has_a_text_and_a_code(serve, method, path, body, status, code):
    app = serve(Echo(), limits=RequestLimits(max_body_bytes=20_000))
    check_error(await app.client.request(method, path, content=body), status, code)


async def test_a_compressed_body_is_inflated(serve):
    app = serve(Echo())
    body = json.dumps({"inputs": [TENSOR]}).encode()
    for encoding, content in (
        ("gzip", gzip.compress(body)),
        ("deflate", zlib.compress(body)),
        ("deflate", zlib.compress(body)[2:-4]),
    ):
        answer = await app.post(INFER, content=content, headers={"content-encoding": encoding})
        assert answer.status_code == 200, answer.text
    answer = await app.post(INFER, content=body, headers={"content-encoding": "br"})
    check_error(answer, 415, "UNSUPPORTED_ENCODING", "content-encoding: expected gzip or deflate, found br")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_an_answer_is_compressed_for_who_accepts_nothing_else(serve, encoding):
    app = serve(Echo())
    tensor = {**TENSOR, "shape": [500, 2], "data": [0.5] * 1000}
    for path, body in ((INFER, {"inputs": [tensor]}), (PREDICT, {"instances": [0.5] * 1000})):
        plain = await app.post(path, json=body, headers={"accept-encoding": "gzip, deflate, br"})
        assert "content-encoding" not in plain.headers
        answer = await app.post(path, json=body, headers={"accept-encoding": encoding})
        assert (answer.headers["content-encoding"], answer.headers["vary"]) == (encoding, "accept-encoding")
        assert int(answer.headers["content-length"]) < len(plain.content) / 5
        assert answer.json() == plain.json()


async def test_a_body_without_a_length_is_cut_at_the_limit(serve):
    app = serve(Echo(), limits=RequestLimits(max_body_bytes=20_000))

    async def chunks():
        for _ in range(30):
            yield b" " * 1000

    check_error(await app.post(PREDICT, content=chunks()), 413, "RESOURCE_EXHAUSTED", "at most 20000 bytes")


async def test_a_defect_says_nothing_about_us(serve, caplog):
    app = serve(classifier())
    tensor = {"name": "image", "shape": [1, 3, 4, 4], "datatype": "FP32", "data": [1e7] * 48}
    check_error(await app.infer(tensor), 500, "INTERNAL", "the model cats failed; the server's log has the reason")
    assert "/secret/path" in caplog.text


async def test_too_many_waiting_requests_are_told_to_try_again(serve):
    app = serve(Echo(), max_pending=1)
    app.served.pipeline.active = 1
    answer = await app.infer(TENSOR)
    app.served.pipeline.active = 0
    check_error(answer, 503, "SERVER_OVERLOADED", "the model cats has 1 requests waiting; try again")
    assert answer.headers["retry-after"] == "1"


async def test_metrics_count_by_protocol_and_code(serve):
    app = serve(Echo())
    app.served.metrics.loaded(1.5)
    await app.post(PREDICT, json={"instances": [1]})
    await app.post(PREDICT, json={})
    await app.infer(TENSOR)
    text = (await app.get("/metrics")).text
    label = 'model="cats",protocol="{}",version="1"'
    assert f'moorage_requests_total{{code="200",{label.format("v1")}}} 1.0' in text
    assert f'moorage_requests_total{{code="400",{label.format("v1")}}} 1.0' in text
    assert f'moorage_requests_total{{code="200",{label.format("v2")}}} 1.0' in text
    assert f"moorage_request_duration_seconds_count{{{label.format('v1')}}} 2.0" in text
    assert 'moorage_model_load_seconds{model="cats",version="1"} 1.5' in text
    assert 'moorage_model_ready{model="cats",version="1"} 1.0' in text
    app.served.drain()
    assert 'moorage_model_ready{model="cats",version="1"} 0.0' in (await app.get("/metrics")).text


async def test_unknown_models_make_no_metrics(serve):
    app = serve(Echo())
    for number in range(100):
        await app.post(f"/v2/models/m{number}/infer", json={})
    assert len(re.findall(r"^moorage_requests_total", (await app.get("/metrics")).text, re.MULTILINE)) <= 1


async def test_the_metadata_tells_all_inputs_and_outputs(serve):
    app = serve(classifier())
    document = (await app.get("/v2/models/cats")).json()
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
    assert (document["name"], document["versions"]) == ("cats", ["1"])
    config = (await app.get("/v2/models/cats/config")).json()
    assert [(item["name"], item["data_type"], item["dims"]) for item in config["input"]] == [
        ("image", "TYPE_STRING", [-1]),
        ("image", "TYPE_UINT8", [-1, -1, -1, 3]),
        ("image", "TYPE_FP32", [-1, 3, 4, 4]),
    ]


async def test_the_server_says_what_it_can(serve):
    document = (await serve(Echo()).get("/v2")).json()
    assert document["name"] == "moorage"
    assert {"binary_tensor_data", "classification", "statistics", "model_repository"} <= set(document["extensions"])


async def test_statistics_count_what_was_asked(serve):
    app = serve(Echo())
    for rows in (1, 2):
        await app.infer({**TENSOR, "shape": [rows, 2], "data": [0.5] * 2 * rows})
    await app.infer({**TENSOR, "shape": [-1]})
    for path in ("/v2/models/cats/stats", "/v2/models/cats/versions/1/stats", "/v2/models/stats"):
        (stats,) = (await app.get(path)).json()["model_stats"]
        assert (stats["name"], stats["version"]) == ("cats", "1")
        assert (stats["inference_count"], stats["execution_count"]) == (3, 2)
        assert stats["inference_stats"]["success"]["count"] == 2
        assert stats["inference_stats"]["fail"]["count"] == 1
        assert stats["inference_stats"]["success"]["ns"] > 0


async def test_settings_are_changed_where_that_is_allowed(serve):
    app = serve(Echo(), control=True)
    answer = await app.post("/v2/trace/setting", json={"trace_rate": "5"})
    assert answer.json()["trace_rate"] == "5"
    answer = await app.post("/v2/models/cats/trace/setting", json={"trace_level": ["TIMESTAMPS"]})
    assert (answer.json()["trace_level"], answer.json()["trace_rate"]) == (["TIMESTAMPS"], "5")
    assert (await app.get("/v2/trace/setting")).json()["trace_level"] == ["OFF"]
    assert (await app.get("/v2/models/cats/trace/setting")).json()["trace_level"] == ["TIMESTAMPS"]
    check_error(await app.post("/v2/trace/setting", json={"x": 1}), 400, "INVALID_ARGUMENT", "found 'x'")
    level = (await app.get("/v2/logging")).json()
    assert (await app.post("/v2/logging", json=level)).json() == level
    check_error(await app.post("/v2/logging", json={"log_info": 3}), 400, "INVALID_ARGUMENT", "log_info")


async def test_a_model_is_unloaded_and_loaded_where_that_is_allowed(serve):
    app = serve(Echo(), control=True, load=Echo)
    assert (await app.post("/v2/repository/models/cats/unload")).status_code == 200
    check_error(await app.infer(TENSOR), 404, "NOT_FOUND", "the model cats is not loaded: unloaded")
    check_error(await app.get("/v2/models/cats/ready"), 404, "NOT_FOUND", "unloaded")
    index = (await app.post("/v2/repository/index", json={})).json()
    assert index == [{"name": "cats", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}]
    assert (await app.post("/v2/repository/index", json={"ready": True})).json() == []
    assert (await app.post("/v2/repository/models/cats/load", json={})).status_code == 200
    assert (await app.infer(TENSOR)).status_code == 200
    check_error(await app.post("/v2/repository/models/dogs/load"), 404, "NOT_FOUND")


async def test_an_outputs_classes_are_ranked_with_their_names(serve, b64):
    app = serve(classifier())
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [b64]}
    answer = await app.infer(tensor, outputs=[{"name": "logits", "parameters": {"classification": 1}}])
    (output,) = answer.json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 1])
    value, index, label = output["data"][0].split(":")
    assert (float(value), index, label) == (1.0, "0", "light")
    answer = await app.infer(tensor, outputs=[{"name": "class_name", "parameters": {"classification": 1}}])
    check_error(answer, 400, "INVALID_ARGUMENT", "expected an output of numbers")


class Answers(Model):
    """Says what it is told to."""

    def __init__(self, value, **options):
        super().__init__("cats", **options)
        self.value = value
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        if response_headers is not None:
            response_headers.update({"X-Mood": "calm", "Content-Length": "3", "Connection": "close"})
        return self.value


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ({"predictions": [1.5]}, {"predictions": [1.5]}),
        ({"predictions": np.array([1, 2])}, {"predictions": [1, 2]}),
        ({"predictions": {1: np.float32(0.5)}}, {"predictions": {"1": 0.5}}),
        ({"predictions": [None]}, {"predictions": [None]}),
        (b'{"own": 1}', {"own": 1}),
        ('{"own": 1}', {"own": 1}),
        (InferResponse("1", "cats", [InferOutput("y", [2], "FP32", [1.0, 2.0])]), {"predictions": [1.0, 2.0]}),
        (
            InferResponse(
                "1", "cats", [InferOutput("y", [2], "FP32", [1.0, 2.0]), InferOutput("z", [2], "INT8", [3, 4])]
            ),
            {"predictions": [{"y": 1.0, "z": 3}, {"y": 2.0, "z": 4}]},
        ),
    ],
    ids=["list", "array", "odd keys", "none", "bytes", "text", "V2", "V2 with two outputs"],
)
async def test_a_v1_answer_may_be_whatever_becomes_json(serve, value, body):
    answer = await serve(Answers(value)).post(PREDICT, json={"instances": [1]})
    assert (answer.status_code, answer.json()) == (200, body)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"predictions": [object()]}, "the model's answer holds something that JSON cannot carry"),
        ({"predictions": {1, 2}}, "the model's answer holds something that JSON cannot carry"),
        ({"predictions": [float("nan")]}, "the model's answer holds NaN or infinity, which JSON cannot carry"),
        ({"predictions": np.array([np.inf])}, "the model's answer holds NaN or infinity"),
        ({"predictions": [np.float32("nan")]}, "the model's answer holds NaN or infinity"),
    ],
)
async def test_a_v1_answer_that_is_no_json_is_the_models_fault(serve, value, text):
    check_error(await serve(Answers(value)).post(PREDICT, json={"instances": [1]}), 500, "INTERNAL", text)


async def test_a_v2_answer_that_is_none_is_the_models_fault(serve):
    check_error(await serve(Answers([1, 2])).infer(TENSOR), 500, "INTERNAL", "the model cats gave no V2 answer")


async def test_a_models_own_headers_are_sent_but_not_those_that_are_ours(serve):
    app = serve(Answers({"predictions": [1]}, return_response_headers=True))
    for answer in (await app.post(PREDICT, json={"instances": [1]}), await app.infer(TENSOR)):
        assert answer.headers["x-mood"] == "calm"
        assert answer.headers.get_list("content-length") == [str(len(answer.content))]
        assert "connection" not in answer.headers


async def test_an_answer_may_be_a_stream(serve):
    async def pieces():
        yield b'{"a"'
        yield ": 1}"

    class Streaming(Echo):
        never_blocks = True

        async def predict(self, payload, headers=None):
            return pieces()

    assert (await serve(Streaming()).post(PREDICT, json={"instances": [1]})).json() == {"a": 1}


EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "s", "ce-contenttype": "application/json"}


async def test_a_cloud_event_gets_a_cloud_event(serve):
    app = serve(Echo())
    answer = await app.post(PREDICT, content=b'{"instances": [1, 2]}', headers=EVENT)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [1, 2]})
    assert answer.headers["ce-specversion"] == "1.0"
    event = {"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": {"instances": [3]}}
    headers = {"content-type": "application/cloudevents+json"}
    answer = await app.post(PREDICT, content=json.dumps(event).encode(), headers=headers)
    assert (answer.status_code, answer.json()["data"]) == (200, {"predictions": [3]})
    assert answer.headers["content-type"] == "application/cloudevents+json"


@pytest.mark.parametrize("structured", [False, True])
async def test_the_answers_event_is_one_of_its_own(serve, structured, monkeypatch):
    attributes = {"specversion": "1.0", "id": "1", "type": "t", "source": "s", "time": "then", "camera": "7"}

    async def attributes_of_the_answer():
        if structured:
            body, headers = {**attributes, "data": {"instances": [3]}}, {"content-type": "application/cloudevents+json"}
        else:
            body, headers = {"instances": [3]}, {f"ce-{key}": value for key, value in attributes.items()}
        answer = await serve(Echo()).post(PREDICT, content=json.dumps(body).encode(), headers=headers)
        found = answer.json() if structured else {k[3:]: v for k, v in answer.headers.items() if k.startswith("ce-")}
        return {key: value for key, value in found.items() if key != "data"}

    own = await attributes_of_the_answer()
    assert {**own, "id": "", "time": ""} == {
        "specversion": "1.0", "id": "", "time": "", "type": "io.kserve.inference.response",
        "source": "io.kserve.inference.cats",
    }  # fmt: skip
    assert own["id"] != "1"
    assert own["time"] > "2026"
    monkeypatch.setenv("CE_MERGE", "true")
    monkeypatch.setenv("CE_TYPE", "seen")
    merged = await attributes_of_the_answer()
    assert (merged["camera"], merged["type"], merged["source"]) == ("7", "seen", "io.kserve.inference.cats")
    assert merged["id"] not in ("1", own["id"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": None}, "the event: expected id, a string, found None"),
        ({"source": ""}, "the event: expected source, a string, found ''"),
        ({"specversion": "2.0"}, "the event: specversion: expected 1.0 or 0.3, found '2.0'"),
    ],
)
async def test_an_event_that_lacks_an_attribute_is_told_which(serve, changes, message):
    event = {"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": {"instances": [3]}, **changes}
    headers = {"content-type": "application/cloudevents+json"}
    answer = await serve(Echo()).post(PREDICT, content=json.dumps(event).encode(), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, message)


@pytest.mark.parametrize("body", [b"", b'{"instances": null}', b"[]", b"\xff", b'{"a": NaN}', b"[" * 3000], ids=repr)
async def test_a_broken_cloud_event_is_the_clients_mistake(serve, body):
    check_error(await serve(Echo()).post(PREDICT, content=body, headers=EVENT), 400, "INVALID_ARGUMENT")


async def test_a_client_that_goes_is_no_defect_of_ours(serve, caplog):
    app = serve(Echo())
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await app.app({"type": "http", "method": "POST", "path": PREDICT, "headers": []}, receive, send)
    assert sent == []
    assert not caplog.records
    assert 'code="499"' in (await app.get("/metrics")).text
