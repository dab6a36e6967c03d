"""What a process does for its metrics beside answering requests: the port of their own, and the numbers that the other workers
tell for it. Made by `server.py`.
"""

import asyncio
import logging
import os
import shutil
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from prometheus_client import CollectorRegistry

from moorage.api.predictor import PredictorSettings
from moorage_predictor.metrics import Metrics
from moorage_predictor.telemetry.store import SharedStore
from moorage_predictor.wire import binding
from moorage_predictor.wire.http.metrics import MetricsApp
from moorage_predictor.wire.http.protocol import watch

_log = logging.getLogger(__name__)

_PUBLISH_S: Final = 1.0
"""How old gauges of another worker may be."""
_CLOSE_S: Final = 1.0
"""How long those that ask at the end may take to read."""


def metrics_of(settings: PredictorSettings, registry: CollectorRegistry) -> Metrics:
    """This process's numbers, alone or among those of several workers."""
    store = None
    if settings.metrics_dir is not None:
        try:
            store = SharedStore(Path(settings.metrics_dir), settings.worker_number, settings.max_metric_models)
        except OSError as error:
            _log.error(
                "this worker counts for itself alone: no room to count with the others", extra={"reason": str(error)}
            )
    return Metrics(registry, store, settings.worker_number, settings.max_metric_models)


class MetricsListener:
    """Of one process."""

    def __init__(
        self,
        settings: PredictorSettings,
        metrics: Metrics,
        make_server: Callable[[Any], uvicorn.Server],
        is_ready: Callable[[], Awaitable[bool]],
    ) -> None:
        """`make_server` gives a server of an application, as that of the other port is; `is_ready` says whether models answer.

        Raises:
            PortTaken: somebody else listens there.
        """
        self._settings = settings
        self._parent = os.getppid()
        self._metrics = metrics
        self._socket = _socket(settings)
        self._server = None if self._socket is None else make_server(MetricsApp(metrics, is_ready))
        self._serving: asyncio.Task[None] | None = None
        self._beside: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Answer from now on."""
        if self._server is not None and self._socket is not None:
            self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
            self._beside.append(asyncio.create_task(watch(self._server.server_state.connections)))
        if self._settings.metrics_dir is not None:
            self._beside.append(asyncio.create_task(self._publish()))

    async def _publish(self) -> None:
        while True:
            self._metrics.refresh()
            await asyncio.sleep(_PUBLISH_S)

    @property
    def port(self) -> int | None:
        """Where it listens."""
        return None if self._socket is None else int(self._socket.getsockname()[1])

    async def stop(self) -> None:
        """After the last request: what happened until then can be asked for."""
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            cut = asyncio.get_running_loop().call_later(_CLOSE_S, _cut, self._server)
            await self._serving
            cut.cancel()
        for task in self._beside:
            task.cancel()
        if self._socket is not None:
            self._socket.close()
        if self._settings.metrics_dir is not None and os.getppid() != self._parent:
            shutil.rmtree(self._settings.metrics_dir, ignore_errors=True)  # who made it was killed


def _cut(server: uvicorn.Server) -> None:
    for connection in list(server.server_state.connections):
        cast(Any, connection).transport.abort()


def _socket(settings: PredictorSettings) -> socket.socket | None:
    if settings.metrics_fd is not None:
        return binding.inherited(settings.metrics_fd)
    if settings.metrics_port is None:
        return None
    return binding.bind(settings.host, settings.metrics_port, "--metrics-port")
