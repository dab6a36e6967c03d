"""Listen, answer, drain. The SDK's ModelServer binds every interface and cannot serve a model that is still loading, so
the HTTP and the gRPC server are started here, around the SDK's data plane. Called by `runtime`.

    bind() -> Server.start() -> Server.serve(classifier) -> ... -> Server.drain() -> Server.stop()
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator
from typing import Final

import uvicorn
from prometheus_client import CollectorRegistry

from moorage.api.predictor import PredictorSettings
from moorage_predictor.metrics import Metrics
from moorage_predictor.tasks.image_classification import ImageClassifier
from moorage_predictor.wire import grpc, http
from moorage_predictor.wire.binding import port_taken
from moorage_predictor.wire.dataplane import MoorageDataPlane
from moorage_predictor.wire.model import ClassifierModel

_log = logging.getLogger(__name__)

_MAX_BODY_IMAGES: Final = 8
"""A body may hold that many images of the largest size (base64 adds a third)."""

_KEEP_ALIVE_S: Final = 65
"""Longer than the 60 s of common proxies, which otherwise send into a closing connection."""

_DRAIN_POLL_S: Final = 0.05


class _HttpServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to `runtime`."""
        yield


class Server:
    """Both listeners of one model."""

    def __init__(self, settings: PredictorSettings, http_socket: socket.socket, registry: CollectorRegistry) -> None:
        self._settings = settings
        self._socket = http_socket
        self.metrics = Metrics(registry, settings.model_name, settings.model_version)
        self._model = ClassifierModel(
            settings.model_name, settings.model_version, max_image_bytes=settings.max_image_bytes, metrics=self.metrics
        )
        dataplane = MoorageDataPlane(self._model)
        limit = _MAX_BODY_IMAGES * (settings.max_image_bytes * 4 // 3 + 1024)
        app = http.create_app(dataplane, self.metrics, max_body_bytes=limit)
        self._http = _HttpServer(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
            )
        )
        self._grpc = grpc.create_server(dataplane, self.metrics, max_message_bytes=limit)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer from now on: alive, not ready.

        Raises:
            PortTaken: gRPC's port was taken since it was tried.
        """
        host = self._settings.host
        try:
            address = f"[{host}]" if ":" in host else host
            port = self._grpc.add_insecure_port(f"{address}:{self._settings.grpc_port}")
        except RuntimeError as error:
            raise port_taken(host, self._settings.grpc_port, "--grpc-port") from error
        await self._grpc.start()
        self._task = asyncio.create_task(self._http.serve(sockets=[self._socket]))
        _log.info("listening", extra={"host": host, "http_port": self._socket.getsockname()[1], "grpc_port": port})

    def serve(self, classifier: ImageClassifier, load_seconds: float) -> None:
        """Ready from now on."""
        self.metrics.loaded(load_seconds)
        self._model.serve(classifier)

    async def stop(self) -> None:
        """Not ready at once; requests in flight get `shutdown_grace_s`; then the listeners close, the rest is cut."""
        grace = self._settings.shutdown_grace_s
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        self._model.drain()
        accept_until = loop.time() + grace / 2  # clients that never pause leave the other half to what is in flight
        while self._model.pending and loop.time() < accept_until:  # noqa: ASYNC110 - an Event for a counter buys nothing here
            await asyncio.sleep(_DRAIN_POLL_S)
        left = max(0.0, deadline - loop.time())
        self._http.config.timeout_graceful_shutdown = max(1, round(left))
        self._http.should_exit = True
        await self._grpc.stop(left)
        if self._task:
            await self._task
