"""A predictor that is quick to start, and something that takes its traces."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.e2e.predictor.conftest import Predictor

MODEL = '''
import sys
import time


class Twice:
    """Numbers twice over; rows of 13 take a while, and rows of 12 tell what is imported."""

    inputs = [{"name": "x", "datatype": "INT64", "shape": [-1, 1]}]
    outputs = [{"name": "x", "datatype": "INT64", "shape": [-1, 1]}]

    def predict(self, inputs):
        [x] = inputs.values()
        if 13 in x:
            time.sleep(0.2)
        if 12 in x:
            return {"x": x * 0 + ("opentelemetry.sdk" in sys.modules)}
        return {"x": 2 * x}
'''
PATIENCE_S = 60


def body(*numbers: int) -> dict[str, object]:
    tensor = {"name": "x", "datatype": "INT64", "shape": [len(numbers), 1], "data": list(numbers)}
    return {"inputs": [tensor]}


def ask_once(url: str, **headers: str) -> int:
    """The status, over a connection of its own. httpx would read the machine's certificates each time."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    try:
        connection.request("POST", "/v2/models/twice/infer", json.dumps(body(1)), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.fixture
def twice(tmp_path: Path) -> Iterator[Callable[..., Predictor]]:
    """Starts predictors of the model above, which end with the test."""
    file = tmp_path / "twice.py"
    file.write_text(MODEL)
    started: list[Predictor] = []

    def run(**changes: object) -> Predictor:
        predictor = Predictor(**{"model_name": "twice", "task": f"{file}:Twice", **changes})
        started.append(predictor)
        return predictor.until_ready()

    yield run
    for predictor in started:
        predictor.close()


class SmallOtlpReceiver:
    """Not a collector: it takes what the exporter posts, and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.authorizations: set[str | None] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                outer.authorizations.add(self.headers["authorization"])
                outer.take(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, content: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            attributes = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self.services.add(attributes["service.name"])
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def until(self, count: int) -> list[Span]:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.spans) < count:
            assert time.monotonic() < deadline, f"{len(self.spans)} of {count} spans came"
            time.sleep(0.02)
        return self.spans

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[SmallOtlpReceiver]:
    made = SmallOtlpReceiver()
    yield made
    made.close()
