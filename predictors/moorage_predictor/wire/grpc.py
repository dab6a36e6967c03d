"""V2 over gRPC: the SDK's servicer with errors translated at this edge, and with repository load and unload off."""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import kserve.errors
from grpc import StatusCode, aio
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.servicer import InferenceServicer

from moorage_predictor.errors import PayloadTooLarge, RequestError
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire.dataplane import MoorageDataPlane

_log = logging.getLogger(__name__)

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Rpc = Callable[[Any, Context], Awaitable[Any]]  # the SDK has no types

_RPCS: Final = ("ServerMetadata", "ServerLive", "ServerReady", "ModelReady", "ModelMetadata", "ModelInfer")


def create_server(dataplane: MoorageDataPlane, metrics: Metrics, *, max_message_bytes: int) -> aio.Server:
    """A server without a port yet. SO_REUSEPORT is off: a second predictor on the port must fail, not share it."""
    server = aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
        ]
    )
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(dataplane, metrics), server)
    return server


class _Servicer(InferenceServicer):  # type: ignore[misc]
    def __init__(self, dataplane: MoorageDataPlane, metrics: Metrics) -> None:
        super().__init__(dataplane, None)
        for name in _RPCS:
            setattr(self, name, _translated(getattr(self, name), metrics if name == "ModelInfer" else None))
        self.RepositoryModelLoad = self.RepositoryModelUnload = _refused


async def _refused(request: Any, context: Context) -> None:
    await context.abort(StatusCode.UNIMPLEMENTED, "loading and unloading are off")


def _translated(rpc: Rpc, metrics: Metrics | None) -> Rpc:
    """The SDK's method with our errors as status codes, counted if there are metrics."""

    @functools.wraps(rpc)
    async def call(request: Any, context: Context) -> Any:
        started, code, text = time.perf_counter(), StatusCode.OK, ""
        try:
            return await rpc(request, context)
        except asyncio.CancelledError:
            code = StatusCode.CANCELLED
            raise
        except Exception as error:  # noqa: BLE001 - the process's one catch-all for gRPC: logged, counted, answered
            code, text = _status(error)
        finally:
            if metrics:
                metrics.answered("grpc", code.name, time.perf_counter() - started)
        await context.abort(code, text)

    return call


def _status(error: Exception) -> tuple[StatusCode, str]:
    if isinstance(error, RequestError):
        if isinstance(error, PayloadTooLarge) or error.status == 400:
            return StatusCode.INVALID_ARGUMENT, str(error)
        return StatusCode.UNAVAILABLE, str(error)
    if isinstance(error, (kserve.errors.InvalidInput, kserve.errors.InferenceError)):
        return StatusCode.INVALID_ARGUMENT, str(error)
    if isinstance(error, kserve.errors.ModelNotFound):
        return StatusCode.NOT_FOUND, str(error)
    if isinstance(error, (kserve.errors.ModelNotReady, kserve.errors.ServerNotReady)):
        return StatusCode.UNAVAILABLE, str(error)
    _log.error("request failed", exc_info=error)
    return StatusCode.INTERNAL, "internal error"
