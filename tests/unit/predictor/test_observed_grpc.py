"""How calls over gRPC that end without an answer are counted, and what the log tells of them."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.unit.predictor.served import Echo, InProcess

from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb
from moorage.api.predictor import PredictorSettings
from moorage_predictor.telemetry.observer import Observer
from moorage_predictor.telemetry.request_log import RequestLog
from moorage_predictor.wire.grpc import create_server

TENSOR = pb.Tensor(name="x", datatype="FP32", shape=[1, 2], contents=pb.InferTensorContents(fp32_contents=[1, 2]))
REQUEST = pb.ModelInferRequest(model_name="cats", inputs=[TENSOR]).SerializeToString()


class Slow(Echo):
    headers: dict[str, str] | None = None

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        self.headers = headers
        await asyncio.sleep(60)


class Watched(InProcess):
    """A slow model behind a gRPC server; `call` asks it, `line` is its log's next."""

    def __init__(self, kind: str) -> None:
        self._model = Slow()
        super().__init__(self._model)
        self._reading, self._writing = os.pipe()
        self._log = RequestLog(self._writing, lambda lines: None)
        settings = PredictorSettings.model_validate({"task": "a.py:B", "model_name": "cats", "grpc_server": kind})
        self._server = create_server(self.repository, settings, observer=Observer(self._log))

    async def start(self) -> None:
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    def call(self, timeout: float, **options: Any) -> Any:
        return self._channel.unary_unary(f"/{SERVICE}/ModelInfer")(REQUEST, timeout=timeout, **options)

    @property
    def headers(self) -> dict[str, str] | None:
        """What the model got."""
        return self._model.headers

    async def line(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await asyncio.to_thread(os.read, self._reading, 1 << 16))
        return told

    def counted(self, code: str) -> float | None:
        labels = {"model": "cats", "version": "1", "protocol": "grpc", "code": code}
        return self.metrics.registry.get_sample_value("moorage_requests_total", labels)

    async def close(self) -> None:
        await self._channel.close()
        await self._server.stop(None)
        await self._log.close()
        os.close(self._writing)
        os.close(self._reading)


@pytest.fixture(params=["grpcio", "native"])
async def slow(request: Any) -> AsyncIterator[Watched]:
    watched = Watched(request.param)
    await watched.start()
    yield watched
    await watched.close()


async def test_a_call_whose_deadline_passes_is_counted_as_such(slow: Watched) -> None:
    assert await slow.call(timeout=0.3).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await slow.line())["code"] == "DEADLINE_EXCEEDED"
    assert (slow.counted("DEADLINE_EXCEEDED"), slow.counted("CANCELLED")) == (1, None)


async def test_a_line_has_the_address_of_who_connected_and_not_of_whom_it_says_it_is(slow: Watched) -> None:
    await slow.call(timeout=0.3, metadata=[("x-moorage-peer", "203.0.113.7")]).code()
    assert (await slow.line())["client"] == "127.0.0.1"
    headers = slow.headers
    assert headers is not None
    assert "x-moorage-peer" not in headers


async def test_a_call_that_its_caller_gives_up_before_is_cancelled(slow: Watched) -> None:
    call = slow.call(timeout=60)
    pipeline = slow.served.pipeline
    assert pipeline is not None
    while not pipeline.active:
        await asyncio.sleep(0.01)
    call.cancel()
    assert (await slow.line())["code"] == "CANCELLED"
    assert (slow.counted("DEADLINE_EXCEEDED"), slow.counted("CANCELLED")) == (None, 1)
