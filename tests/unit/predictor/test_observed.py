"""What every answer and every log line tells of its request, over HTTP; see test_observed_grpc.py for gRPC."""

import asyncio
import gc
import json
import os

import httpx
import numpy as np
import pytest
from tests.unit.predictor.served import Echo, InProcess

from moorage.access.principal import PRINCIPAL, Principal
from moorage.api.predictor import PredictorSettings
from moorage_predictor.batching import BatchLimits
from moorage_predictor.errors import StartError
from moorage_predictor.telemetry import collector
from moorage_predictor.telemetry.http import Observed
from moorage_predictor.telemetry.observer import Observer
from moorage_predictor.telemetry.record import Batch, Record
from moorage_predictor.telemetry.request_log import Common, RequestLog

TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
INFER = "/v2/models/cats/infer"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Watched(InProcess):
    """The application within the outermost layer; `lines()` is what its log has."""

    def __init__(self, *, only_errors: bool = False, around=lambda app: app) -> None:
        super().__init__(Echo())
        self._reading, self._writing = os.pipe()
        self.log = RequestLog(self._writing, lambda lines: None, only_errors=only_errors)
        app = Observed(around(self.app), Observer(self.log))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")

    async def lines(self):
        self.log.write(Record(), Common.of({}), {"last": True}, 0)
        await self.log.close()
        os.close(self._writing)
        with os.fdopen(self._reading) as found:
            return [json.loads(line) for line in found][:-1]


async def test_the_caller_s_id_is_in_the_answer_and_in_the_log():
    app = Watched()
    answer = await app.post(INFER, json={"inputs": [TENSOR]}, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    [line] = await app.lines()
    assert line["request_id"] == "mine-1"


async def test_errors_and_probes_get_an_id_as_well():
    app = Watched()
    answers = [await app.get(path) for path in ("/v2/health/live", "/nothing", "/metrics")]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 3


async def test_a_line_tells_who_asked_what_and_where_the_time_went():
    app = Watched()
    await app.post(INFER, json={"inputs": [TENSOR]}, headers={"traceparent": TRACEPARENT})
    [line] = await app.lines()
    assert {key: line[key] for key in ("method", "route", "protocol", "model", "version", "status", "rows")} == {
        "method": "POST",
        "route": "/v2/models/{name}/infer",
        "protocol": "v2",
        "model": "cats",
        "version": "1",
        "status": 200,
        "rows": 1,
    }
    assert line["client"] == "127.0.0.1"
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert line["bytes_in"] > 50
    assert line["bytes_out"] > 50
    stages = [line[f"{stage}_ms"] for stage in ("decode", "queue", "forward", "encode")]
    assert all(stage >= 0 for stage in stages)
    assert sum(stages) <= line["duration_ms"]


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/models/cats:predict", "/v1/models/{name}:predict"),
        ("/v2/models/cats/versions/1/infer", "/v2/models/{name}/versions/{version}/infer"),
    ],
)
async def test_a_route_is_told_without_names(path, route):
    app = Watched()
    await app.post(path, json={"instances": [1], "inputs": [TENSOR]})
    assert [line["route"] for line in await app.lines()] == [route]


async def test_no_payload_and_no_credentials_are_in_the_log():
    app = Watched()
    body = {"inputs": [{"name": "secret-input", "datatype": "BYTES", "shape": [1], "data": ["secret-value"]}]}
    headers = {"authorization": "Bearer secret-token", "x-api-key": "secret-key", "cookie": "secret-cookie"}
    await app.post(f"{INFER}?key=secret-query", json=body, headers=headers)
    await app.post("/v2/models/none/infer?key=secret-query", json=body, headers=headers)
    text = json.dumps(await app.lines())
    assert "none" in text
    assert "secret" not in text


async def test_the_caller_is_told_by_id():
    def known(app):
        async def inner(scope, receive, send):
            scope[PRINCIPAL] = Principal("key-7\n", "key", "read-write")
            await app(scope, receive, send)

        return inner

    app = Watched(around=known)
    await app.post(INFER, json={"inputs": [TENSOR]})
    assert [line["caller"] for line in await app.lines()] == ["key-7?"]


async def test_a_request_that_is_turned_away_before_any_route_is_logged():
    def closed(app):
        async def inner(scope, receive, send):
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        return inner

    app = Watched(around=closed)
    answer = await app.post(INFER, json={})
    assert answer.headers["x-request-id"]
    [line] = await app.lines()
    assert (line["status"], line["path"]) == (401, INFER)


async def test_probes_are_logged_only_when_they_fail():
    app = Watched()
    await app.get("/v2/health/ready")
    await app.get("/v2/models/cats/ready")
    app.served.drain()
    await app.get("/v2/health/ready")
    assert [(line["path"], line["status"]) for line in await app.lines()] == [("/v2/health/ready", 503)]


async def test_errors_alone_are_logged_where_that_is_asked_for():
    app = Watched(only_errors=True)
    await app.post(INFER, json={"inputs": [TENSOR]})
    await app.post(INFER, json={})
    assert [line["status"] for line in await app.lines()] == [400]


async def test_a_body_in_chunks_is_counted():
    async def pieces():
        yield b'{"instances":'
        yield b"[1]}"

    app = Watched()
    await app.client.post("/v1/models/cats:predict", content=pieces())
    assert [line["bytes_in"] for line in await app.lines()] == [17]


async def test_requests_that_shared_a_pass_say_so():
    class Plain:
        name, ready = "cats", True

        def predict(self, payload, headers=None):
            return {"predictions": payload["instances"]}

    app = Watched()
    app.served._batching = BatchLimits(8, 100)
    app.served.serve(Plain())
    await asyncio.gather(*[app.post("/v1/models/cats:predict", json={"instances": [n]}) for n in range(4)])
    rows = [line["batch_rows"] for line in await app.lines()]
    assert sum(1 / each for each in rows) == pytest.approx(round(sum(1 / each for each in rows)))
    assert max(rows) > 1


async def test_a_request_leaves_nothing_for_the_garbage_collector():
    class Plain:
        name, ready = "cats", True

        def predict(self, payload, headers=None):
            return {"predictions": payload["instances"]}

    app = Watched()
    app.served._batching = BatchLimits(8, 100)
    app.served.serve(Plain())
    gc.collect()
    gc.disable()
    try:
        await asyncio.gather(*[app.post("/v1/models/cats:predict", json={"instances": [n]}) for n in range(20)])
        await asyncio.sleep(0.2)  # until the log has written
        left = [one for one in gc.get_objects() if type(one) in (Record, Batch)]
    finally:
        gc.enable()
    assert len(await app.lines()) == 20
    assert left == []


async def test_without_log_and_traces_there_is_only_the_id():
    app = InProcess(Echo())
    client = httpx.AsyncClient(transport=httpx.ASGITransport(Observed(app.app, Observer())), base_url="http://test")
    answer = await client.post(INFER, json={"inputs": [TENSOR]}, headers={"x-request-id": "mine"})
    assert answer.headers["x-request-id"] == "mine"
    assert np.allclose(answer.json()["outputs"][0]["data"], [1, 2])


class Settings:
    otel_endpoint = None


@pytest.mark.parametrize(
    ("option", "env", "expected"),
    [
        (None, {}, None),
        ("http://c:4318/", {}, "http://c:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:4318"}, "http://e:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/x"}, "http://t:1/x"),
        ("http://c:4318", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/x"}, "http://c:4318/v1/traces"),
        ("http://c:4318", {"OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_traces_go_where_the_option_or_the_standard_variables_say(option, env, expected):
    settings = Settings()
    settings.otel_endpoint = option
    assert collector.endpoint(settings, env) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("authorization=Bearer%20a%3Db\n", {"authorization": "Bearer a=b"}),
        ("X-Team = sea , api-key=a=b==", {"x-team": "sea", "api-key": "a=b=="}),
        ("empty=", {"empty": ""}),
        ("a=1,\n", {"a": "1"}),
    ],
)
def test_a_collectors_headers_are_written_as_the_standard_variable_is(tmp_path, text, expected):
    file = tmp_path / "headers"
    file.write_text(text)
    settings = PredictorSettings(task="image-classification", model_dir="m", otel_headers_file=str(file))
    assert collector.headers(settings) == expected
    assert collector.headers(settings.model_copy(update={"otel_headers_file": None})) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff\xfe", "cannot be read: no text"),
        (b"", "found nothing"),
        (b" ,", "found nothing"),
        (b"a=1,s3cret", "something else in part 2"),
        (b"a=1%0d%0ahost: s3cret", "something else in part 1"),
        (b"s3 cret=1", "something else in part 1"),
    ],
)
def test_headers_that_are_no_headers_are_refused_at_the_start_without_telling_them(tmp_path, content, why):
    file = tmp_path / "headers"
    if content is not None:
        file.write_bytes(content)
    settings = PredictorSettings(task="image-classification", model_dir="m", otel_headers_file=str(file))
    with pytest.raises(StartError, match=f"--otel-headers-file: {file}: .*{why}") as told:
        collector.headers(settings)
    assert "cret" not in str(told.value)


def test_a_pipe_of_headers_is_refused_at_the_start(tmp_path):
    os.mkfifo(tmp_path / "headers")
    settings = PredictorSettings(
        task="image-classification", model_dir="m", otel_headers_file=str(tmp_path / "headers")
    )
    with pytest.raises(StartError, match=r"--otel-headers-file: .*: cannot be read: not a regular file"):
        collector.headers(settings)
