"""Listen, answer, drain. The SDK's ModelServer binds every interface, cannot serve a model that is still loading and
spends most of a request in FastAPI, so the HTTP and the gRPC server are started here. Called by `runtime`.

    bind() -> Server.start() -> Server.serve(model) -> ... -> Server.stop()
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator
from typing import Any, Final

import uvicorn
from prometheus_client import CollectorRegistry

from moorage.api.predictor import PredictorSettings
from moorage_predictor.batching import BatchLimits
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire import grpc
from moorage_predictor.wire.binding import port_taken
from moorage_predictor.wire.http.app import App
from moorage_predictor.wire.http.protocol import limited_protocol, watch
from moorage_predictor.wire.repository import Repository, Served

_log = logging.getLogger(__name__)

_DRAIN_POLL_S: Final = 0.05
_CLOSE_S: Final = 1.0


class _HttpServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to `runtime`."""
        yield


def _batching(settings: PredictorSettings) -> BatchLimits | None:
    size = settings.max_batch_size or 1
    if settings.task == "image-classification" or size == 1:
        return None  # the classifier's own stages make batches
    return BatchLimits(size, settings.max_queue_size, settings.max_queue_delay_ms / 1000)


class Server:
    """Both listeners of one model. Made inside the event loop, because gRPC's server belongs to it."""

    def __init__(
        self,
        settings: PredictorSettings,
        http_socket: socket.socket,
        registry: CollectorRegistry,
        load: Callable[[], Any],
    ) -> None:
        """`load` gives the model anew; it is called in a thread, when a caller asks for it."""
        self._settings = settings
        self._socket = http_socket
        self.metrics = Metrics(registry, settings.model_name, settings.model_version)
        self._served = Served(
            settings.model_name,
            settings.model_version,
            max_pending=settings.max_pending,
            batching=_batching(settings),
            platform="moorage_timm" if settings.task == "image-classification" else "moorage_custom",
            load=load,
            changed=self.metrics.ready,
        )
        self._served.starting = True
        repository = Repository([self._served])
        app = App(repository, self.metrics, settings, control=settings.control_endpoints)
        self._http = _HttpServer(
            uvicorn.Config(
                app,
                loop="none",
                http=limited_protocol(settings),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_keep_alive=settings.keep_alive_s,
            )
        )
        self._grpc = grpc.create_server(repository, self.metrics, settings)
        self._tasks: list[asyncio.Task[None]] = []

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
        self._tasks = [
            asyncio.create_task(self._http.serve(sockets=[self._socket])),
            asyncio.create_task(watch(self._http.server_state.connections)),
        ]
        _log.info("listening", extra={"host": host, "http_port": self._socket.getsockname()[1], "grpc_port": port})

    def serve(self, model: Any, load_seconds: float) -> None:
        """Ready from now on, with this model."""
        self._served.serve(model)
        self.metrics.loaded(load_seconds)

    async def stop(self) -> None:
        """Not ready at once; requests in flight get `shutdown_grace_s`; then the listeners close, the rest is cut."""
        grace = self._settings.shutdown_grace_s
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        self._served.drain()
        accept_until = loop.time() + grace / 2  # clients that never pause leave the other half to what is in flight
        while self._served.pending and loop.time() < accept_until:  # noqa: ASYNC110 - an Event for a counter buys nothing here
            await asyncio.sleep(_DRAIN_POLL_S)
        left = max(0.0, deadline - loop.time())
        self._http.config.timeout_graceful_shutdown = max(1, round(left))
        self._http.should_exit = True
        if self._tasks:
            await self._grpc.stop(left)
            serving, watching = self._tasks
            await serving
            watching.cancel()
        with contextlib.suppress(TimeoutError):  # a call that never ends must not keep the process
            await asyncio.wait_for(self._served.close(), max(_CLOSE_S, deadline - loop.time()))
