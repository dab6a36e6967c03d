"""Listen, answer, drain. The SDK's ModelServer binds every interface, cannot serve a model that is still loading and
spends most of a request in FastAPI, so the HTTP and the gRPC server are started here. Called by `runtime`.

    bind() -> Server.start() -> Server.serve(model), or Server.preload() -> ... -> Server.stop()
"""

import asyncio
import contextlib
import copy
import logging
import math
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn
from prometheus_client import CollectorRegistry

from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage_predictor import log, memory
from moorage_predictor.batching import BatchLimits
from moorage_predictor.errors import LoadFailed, ModelUnavailable, StartError, without_paths
from moorage_predictor.tasks import table
from moorage_predictor.telemetry.http import Observed
from moorage_predictor.telemetry.observer import observer
from moorage_predictor.wire import grpc
from moorage_predictor.wire.access import gate_of, guarded
from moorage_predictor.wire.binding import not_bound
from moorage_predictor.wire.http.app import App
from moorage_predictor.wire.http.listener import HttpServer
from moorage_predictor.wire.http.protocol import LimitedProtocol, limited_protocol, watch
from moorage_predictor.wire.http.types import Handler
from moorage_predictor.wire.metrics_listener import MetricsListener, metrics_of
from moorage_predictor.wire.pipeline import Pipeline
from moorage_predictor.wire.rate_limits import limits_of
from moorage_predictor.wire.repository import Repository
from moorage_predictor.wire.served import Served

if TYPE_CHECKING:
    from grpc import aio

    from moorage_predictor.wire.tls import Certificates

_log = logging.getLogger(__name__)

_DRAIN_POLL_S: Final = 0.05
_CLOSE_S: Final = 1.0
_HUNG_GRACE_S: Final = 2.0


def _certificates(settings: PredictorSettings) -> "Certificates | None":
    if settings.tls_cert_file is None:
        return None
    from moorage_predictor.wire.tls import Certificates  # with ssl: most have none

    return Certificates(settings)


def _batching(settings: PredictorSettings) -> BatchLimits | None:
    size = settings.max_batch_size or 1
    if settings.built_in or size == 1:
        return None  # our own tasks make their batches themselves
    return BatchLimits(size, settings.max_queue_size, settings.max_queue_delay_ms / 1000)


class Server:
    """Both listeners of one process's models. Made inside the event loop, because gRPC's server belongs to it."""

    def __init__(
        self,
        settings: PredictorSettings,
        http_socket: socket.socket,
        registry: CollectorRegistry,
        load: Callable[[PredictorSettings], Any],
    ) -> None:
        """`load` gives the model of such settings; it is called in a thread, each time that the model is wanted anew.

        Raises:
            LoadFailed: there is no such model repository.
        """
        self._settings = settings
        self._socket = http_socket
        self.metrics = metrics_of(settings, registry)
        self._observer = observer(settings, self.metrics)
        self._repository = self._models(load)
        self._repository.unknown = self.metrics.unknown
        self._gate = gate_of(settings)
        apart = settings.metrics_port is not None
        control = settings.control_endpoints
        app: Callable[..., Awaitable[object]] = App(
            self._repository, self.metrics, settings, control=control, metrics_apart=apart
        )
        self._limits = limits_of(settings, self.metrics)
        if self._limits is not None:
            app = self._limits.counted(app)
        if self._gate is not None:
            self._gate.denied = self.metrics.denied
            app = guarded(app, self._gate)
        self._protocol = limited_protocol(settings)
        self._certificates = _certificates(settings)
        context = self._certificates.http_context() if self._certificates else None
        self._http = HttpServer(
            uvicorn.Config(
                Observed(app, self._observer),
                loop="none",
                http=self._protocol,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                proxy_headers=False,  # nobody here asks who the caller is
                timeout_keep_alive=settings.keep_alive_s,
                ssl_context_factory=(lambda config, default: context) if context else None,
            )
        )
        self._metrics_listener = MetricsListener(settings, self.metrics, self._beside, self._repository.is_ready)
        self._grpc = grpc.create_server(self._repository, settings, self._gate, self._limits, self._observer)
        self._tasks: list[asyncio.Task[None]] = []
        self._polling: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._was_ready = False
        self.unanswered = 0
        """Requests that the end of the grace period left without their answer."""

    def _beside(self, app: Handler) -> uvicorn.Server:
        """Of another listener, with the limits of the first."""
        config = copy.copy(self._http.config)
        config.app = app
        config.ssl_context_factory = None  # Prometheus and the kubelet have no certificate to show
        return HttpServer(config)

    def _models(self, load: Callable[[PredictorSettings], Any]) -> Repository:
        settings = self._settings
        options: dict[str, Any] = {
            "max_pending": settings.max_pending,
            "batching": _batching(settings),
            "platform": table.of(settings.task, settings.runtime).platform if settings.built_in else "moorage_custom",
        }
        if settings.model_repository is not None:
            from moorage_predictor.wire.model_repository import ModelRepository  # one model needs none of it

            return ModelRepository(settings, self.metrics, options, load)
        name, version = settings.model_name, settings.model_version
        served = Served(name, version, load=lambda: load(settings), metrics=self.metrics.of(name, version), **options)
        served.starting = True
        return Repository([served])

    async def start(self) -> None:
        """Answer from now on: alive, not ready.

        Raises:
            PortTaken: gRPC's port was taken since it was tried.
        """
        host = self._settings.host
        try:
            address = f"[{host}]" if ":" in host else host
            port = self._add_grpc_port(f"{address}:{self._settings.grpc_port}")
        except RuntimeError as error:
            raise not_bound(host, self._settings.grpc_port, "--grpc-port", error) from error
        await self._grpc.start()
        if self._limits is not None:
            self._limits.start()
        self._tasks = [
            asyncio.create_task(self._http.serve(sockets=[self._socket])),
            asyncio.create_task(watch(self._connections)),
        ]
        if self._certificates:
            self._renewing = asyncio.create_task(self._certificates.watch())
        self._trimming = asyncio.create_task(memory.trim_when_idle())
        self._metrics_listener.start()
        ports = {"http_port": self._socket.getsockname()[1], "grpc_port": port}
        if self._metrics_listener.port is not None:
            ports["metrics_port"] = self._metrics_listener.port
        _log.info("listening", extra={"host": host, **ports})

    def _add_grpc_port(self, address: str) -> int:
        if self._certificates is None:
            return self._grpc.add_insecure_port(address)
        server = cast("aio.Server", self._grpc)  # the other has no TLS, and is not chosen
        return int(server.add_secure_port(address, self._certificates.grpc_credentials()))

    def serve(self, model: Any, load_seconds: float) -> None:
        """Ready from now on, with this model, which is the only one."""
        [served] = self._repository
        served.serve(model)
        served.metrics.loaded(load_seconds)
        self.metrics.started(log.age())
        self._was_ready = True

    def progress(self, step: LoadProgress) -> None:
        """How far the load of the only model is, for those who ask whether it is ready. From any thread."""
        [served] = self._repository
        served.progress = f"{step.stage} {step.done} of {step.total}"

    def failed(self, error: StartError) -> None:
        """The only model could not be loaded: live and not ready from now on, with the reason."""
        [served] = self._repository
        if isinstance(error, LoadFailed) and self._settings.built_in:
            error.told = without_paths(error.reason)  # of a class of the user's the text may say anything
        served.failed_to_start(error)

    def pipelines(self) -> list[tuple[str, Pipeline]]:
        """Those that answer now or finish what they have, with the names of their models."""
        return [(served.name, pipeline) for served in list(self._repository) for pipeline in served.pipelines]

    def hold_back(self, reason: str | None) -> None:
        """See `Repository.hold_back`."""
        self._repository.hold_back(reason)

    async def preload(self) -> bool:
        """Of a model repository: load what must be there, and look for new versions from now on. Whether all is there."""
        await self._repository.preload()
        self.metrics.started(log.age())
        self._polling = asyncio.create_task(self._repository.poll())
        self._was_ready = True
        return await self._repository.is_ready()

    async def stop(self, *, hung: bool = False) -> None:
        """Not ready at once. For `drain_delay_s` every request is taken as before, and each connection ends with its answer;
        then what is in flight gets `shutdown_grace_s`, the listeners close, and the rest is answered with 503. If a model
        hangs, what others do is not waited for long."""
        settings, loop = self._settings, asyncio.get_running_loop()
        for beside in (self._polling, self._renewing, self._trimming):
            if beside:
                beside.cancel()
        self._repository.drain()
        self._protocol.draining = True
        for connection in list(self._connections):
            connection.drain()
        if self._was_ready and not hung:  # nobody is sent here before
            await asyncio.sleep(settings.drain_delay_s)
        grace = min(settings.shutdown_grace_s, _HUNG_GRACE_S) if hung else settings.shutdown_grace_s
        deadline = loop.time() + grace
        accept_until = loop.time() + grace / 2  # clients that never pause leave the other half to what is in flight
        while self._repository.pending and loop.time() < accept_until:  # noqa: ASYNC110 - an Event for a counter buys nothing here
            await asyncio.sleep(_DRAIN_POLL_S)
        if self._tasks:
            await self._close_listeners(deadline)
        if self._gate is not None:
            await self._gate.close()
        await self._metrics_listener.stop()
        await self._observer.close()
        if self._limits is not None:
            await self._limits.close()
        with contextlib.suppress(TimeoutError):  # a call that never ends must not keep the process
            await asyncio.wait_for(self._repository.close(), max(_CLOSE_S, deadline - loop.time()))

    async def _close_listeners(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        left = max(0.0, deadline - loop.time())
        self._http.config.timeout_graceful_shutdown = math.ceil(left + _CLOSE_S)
        self._http.should_exit = True
        cut = loop.call_later(left, self._cut)
        await self._grpc.stop(left)
        serving, watching = self._tasks
        await serving
        cut.cancel()
        watching.cancel()

    def _cut(self) -> None:
        """gRPC's server does the same for its own."""
        self.unanswered = self._repository.pending
        error = ModelUnavailable("the server is stopping, and has no more time for this request")
        in_work = sum([connection.cut(error) for connection in list(self._connections)])
        self.unanswered = max(self.unanswered, in_work)
        if self.unanswered:
            _log.warning("the grace period is over", extra={"unanswered": self.unanswered})

    @property
    def _connections(self) -> "set[LimitedProtocol]":
        return cast("set[LimitedProtocol]", self._http.server_state.connections)
