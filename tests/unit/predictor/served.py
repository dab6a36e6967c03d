"""A model behind the HTTP application, in process: no socket, no second process. For the unit tests of `wire`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from kserve import InferInput, InferOutput, InferResponse, Model
from prometheus_client import CollectorRegistry

from moorage.api.limits import RequestLimits
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire.datatypes import BY_DTYPE
from moorage_predictor.wire.http.app import App
from moorage_predictor.wire.messages import InferRequest, Tensor
from moorage_predictor.wire.repository import Repository
from moorage_predictor.wire.served import Served

MIB = 1024 * 1024


class Echo(Model):
    """Answers with what it was asked."""

    def __init__(self, name: str = "cats") -> None:
        super().__init__(name)
        self.ready = True

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        if isinstance(payload, dict):
            return {"predictions": payload.get("instances", payload.get("inputs"))}
        return InferResponse(payload.id, self.name, [echoed(tensor) for tensor in payload.inputs])

    def get_input_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


def echoed(tensor: InferInput) -> InferOutput:
    return InferOutput(tensor.name, list(tensor.shape), tensor.datatype, tensor.as_numpy())


@asynccontextmanager
async def listening(server: Any) -> AsyncIterator[str]:
    """The address of a gRPC server, which is stopped whatever comes: one that is left running outlives its event loop, and
    stops the whole process later."""
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


class InProcess:
    """`client` asks; `serve(model)` is what the load thread does at its end."""

    def __init__(
        self,
        model: Model | None = None,
        *,
        limits: RequestLimits | None = None,
        control: bool = False,
        max_pending: int = 256,
        load: Callable[[], Any] | None = None,
    ) -> None:
        self.limits = limits or RequestLimits()
        self.metrics = Metrics(CollectorRegistry())
        self.served = Served(
            "cats", "1", max_pending=max_pending, platform="test", load=load, metrics=self.metrics.of("cats", "1")
        )
        self.repository = Repository([self.served])
        self.app = App(self.repository, self.metrics, self.limits, control=control)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")
        if model is not None:
            self.served.serve(model)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        return await self.client.post(path, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.client.get(path, **options)

    async def infer(self, *inputs: dict[str, Any], **more: Any) -> httpx.Response:
        return await self.post("/v2/models/cats/infer", json={"inputs": list(inputs), **more})


def request_of(name: str = "cats", **tensors: Any) -> InferRequest:
    """An `InferRequest` of arrays by name."""
    inputs = [Tensor(key, list(array.shape), BY_DTYPE[array.dtype], array) for key, array in tensors.items()]
    return InferRequest(name, inputs)
