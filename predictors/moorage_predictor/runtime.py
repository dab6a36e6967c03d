"""The life of the process: bind, serve, load, answer, drain, end with one of the exit codes. Called by `__main__`.

main thread (event loop)                      "load" thread
bind ports, import the servers
Server.start(): live 200, ready 503   ──────> loading.load (fetch, read, warm up) -> wire.adapt
Server.serve(): ready 200             <────── loaded, or failed -> exit 2 or 3
SIGTERM, SIGINT, SIGHUP, parent gone -> Server.stop(): ready 503, in-flight requests finish -> exit 0, or 4 if some did not
"""

import asyncio
import gc
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry

from moorage.api.exit_codes import ExitCode
from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage.api.signal_event import SignalEvent, when_told_to_stop
from moorage_predictor import BEGAN, log
from moorage_predictor.contained import contained
from moorage_predictor.errors import ModelHangs, StartError
from moorage_predictor.orphans import wait_for_end_of_parent
from moorage_predictor.scratch import scratch
from moorage_predictor.watchdog import Heartbeat, LoopWatch, until_hung
from moorage_predictor.wire import binding
from moorage_predictor.wire.rate_limits import counting_for_workers
from moorage_predictor.worker import HoldBack
from moorage_predictor.workers import Workers

if TYPE_CHECKING:
    from moorage_predictor.wire.server import Server

_log = logging.getLogger(__name__)

_GC_THRESHOLD: Final = 10_000
"""Objects between two collections; requests make no cycles, and Python's 700 costs a twentieth of a short one's time."""
_LOAD_STOP_S: Final = 2.0
"""How long a load that is told to stop may take. An import cannot be interrupted; the process then ends anyway."""
_STOP_MARGIN_S: Final = 4.0
"""What the end may take beyond the times that are set for it; a parent of several workers gives a second more."""


def run(settings: PredictorSettings) -> ExitCode:
    """Serve until told to stop. Returns the exit code; what people need to know has been written by then."""
    log.configure(settings.log_level)
    try:
        if settings.workers == 1:
            return _Runtime(settings).run()
        with counting_for_workers(settings) as counted:
            return Workers(counted).run()
    except StartError as error:
        log.failure(str(error), settings.termination_log)
        return error.exit_code
    except Exception:  # noqa: BLE001 - the process's last catch-all
        _log.exception("the predictor failed")
        log.failure("internal error; the log has the details", settings.termination_log)
        return ExitCode.INTERNAL


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop


class _Runtime:
    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self._cancelled = SignalEvent()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loader: threading.Thread | None = None
        self._server: Server | None = None
        self._held_back = HoldBack(None)
        self._frozen = False
        self._watch: LoopWatch | None = None
        self._folder = ""

    def run(self) -> ExitCode:
        settings = self._settings
        when_told_to_stop(self._tell_to_stop)
        if settings.exit_with_parent:
            threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()
        if settings.http_fd is None:
            http_socket = binding.bind(settings.host, settings.http_port, "--http-port")
            binding.bind(settings.host, settings.grpc_port, "--grpc-port").close()  # gRPC itself binds it again
        else:
            http_socket = binding.inherited(settings.http_fd)
        log.progress(LoadProgress("import", 0, 2, at=log.age(BEGAN)))
        from moorage_predictor.wire.server import Server

        log.progress(LoadProgress("import", 1, 2))
        # All that is temporary lies in one folder, which goes even where the load thread cannot be unwound.
        with scratch() as self._folder:
            tempfile.tempdir = self._folder
            try:
                with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                    return runner.run(
                        self._serve(lambda: Server(settings, http_socket, CollectorRegistry(), self._load))
                    )
            finally:
                self._cancelled.set()
                if self._loader:
                    self._loader.join(_LOAD_STOP_S)

    async def _serve(self, create_server: "Callable[[], Server]") -> ExitCode:
        self._loop = asyncio.get_running_loop()
        server = self._server = create_server()  # here, because gRPC's server belongs to the loop it was created in
        server.hold_back(self._held_back.reason)  # it may have been said before there was a server
        if self._settings.heartbeat_fd is not None:
            self._start_heartbeat(self._settings.heartbeat_fd, server)
        self._watch_loop(server)
        if not self._settings.listen_late:
            await server.start()
        stopped = asyncio.create_task(self._stop.wait())
        hung: asyncio.Task[str] | None = None
        try:
            if await self._get_ready(server, stopped):
                hung = asyncio.create_task(until_hung(server.pipelines, self._settings.forward_timeout_s))
                await asyncio.wait([stopped, hung], return_when=asyncio.FIRST_COMPLETED)
            else:
                await stopped
        finally:
            stopped.cancel()
            await server.stop(hung=hung is not None and hung.done())
        if hung and hung.done():
            raise ModelHangs(hung.result())
        _log.info("stopped")
        return ExitCode.UNFINISHED if server.unanswered else ExitCode.OK

    async def _get_ready(self, server: "Server", stopped: "asyncio.Task[Any]") -> bool:
        """Whether the model answers now. False: told to stop before, or it could not be loaded and that is no end.

        Raises:
            StartError: it could not be loaded.
        """
        started = time.perf_counter()
        many = self._settings.model_repository is not None
        loaded = asyncio.ensure_future(server.preload()) if many else self._start_loading()
        waiting: list[asyncio.Future[Any]] = [loaded, stopped]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._stop.is_set():
            if many:
                loaded.cancel()  # what is being loaded has no caller that waits for it any more
            return False
        try:
            ready = loaded.result()
        except StartError as error:
            if many or self._settings.on_load_failure == "exit":
                raise
            log.failure(str(error), self._settings.termination_log)
            server.failed(error)
            return False
        if not many:
            server.serve(ready, time.perf_counter() - started)
        if self._settings.listen_late:
            await server.start()
        gc.collect()
        gc.set_threshold(_GC_THRESHOLD, 20, 50)
        gc.freeze()  # what is here now stays; a collection that walks all of torch's objects stops everything
        if not many or ready:
            _log.info("ready", extra={"model": self._settings.model_repository or self._settings.model_name})
            log.progress(LoadProgress("ready", 1, 1))
        return True

    def _start_heartbeat(self, fd: int, server: "Server") -> None:
        settings = self._settings
        beat = Heartbeat(fd, settings.worker_timeout_s, server.pipelines, settings.forward_timeout_s)
        beat.start(asyncio.get_running_loop())

    def _watch_loop(self, server: "Server") -> None:
        settings = self._settings
        stop_s = settings.drain_delay_s + settings.shutdown_grace_s + _STOP_MARGIN_S
        self._watch = LoopWatch(server.pipelines, settings.forward_timeout_s, stop_s, self._end_now)
        self._watch.start()
        if self._cancelled.is_set():
            self._watch.told_to_stop()

    def _end_now(self, code: ExitCode, reason: str) -> None:
        """From a thread, where the event loop cannot end any more."""
        log.failure(reason, self._settings.termination_log)
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(code)

    def _load(self, settings: PredictorSettings) -> Any:
        """See `wire.pipeline.Model`. In a thread."""
        from moorage_predictor.loading import load
        from moorage_predictor.wire.adapt import adapted

        return adapted(load(settings, self._report, self._cancelled), settings)

    def _report(self, step: LoadProgress) -> None:
        """Of one model; of many, what one of them does says little."""
        if step.stage == "import" and step.done == step.total and not self._frozen:
            gc.freeze()  # torch is here to stay: the collection before `ready` need not walk its objects, 0.2 s
            self._frozen = True
        if self._settings.model_repository is None:
            log.progress(step)
            if self._server:
                self._server.progress(step)

    def _start_loading(self) -> "asyncio.Future[Any]":
        loaded: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        loaded.add_done_callback(lambda future: future.exception())  # after a stop nobody else looks at it

        def work() -> None:
            try:
                model = contained(lambda: self._load(self._settings))
            except Exception as error:  # noqa: BLE001 - handed to the main thread, which decides
                failure = error
                self._on_loop(lambda: loaded.set_exception(failure))
            else:
                self._on_loop(lambda: loaded.set_result(model))

        self._loader = threading.Thread(target=work, name="load", daemon=True)
        self._loader.start()
        return loaded

    def _on_loop(self, call: Callable[[], object]) -> None:
        try:
            if self._loop:
                self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            _log.debug("the event loop is closed")

    def _tell_to_stop(self) -> None:
        """From a signal or the parent's end; a second and third time it does nothing more."""
        self._cancelled.set()
        if self._loop is None:
            os._exit(ExitCode.OK)  # nothing is served yet, and an import cannot be unwound
        if self._watch:
            self._watch.told_to_stop()
        self._on_loop(self._stop.set)

    def _watch_parent(self) -> None:
        wait_for_end_of_parent(self._hear)
        self._tell_to_stop()

    def _hear(self, line: str) -> None:
        """From the parent of several workers: why this one shall not be ready, or that it may be again."""
        if word := HoldBack.from_line(line):
            self._held_back = word
            if server := self._server:
                self._on_loop(lambda: server.hold_back(word.reason))
