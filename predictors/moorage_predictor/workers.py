"""Several predictor processes on one pair of ports. `runtime` calls it instead of serving itself when told `--workers=N`.

    parent: holds both ports, starts N predictors, relays their words, replaces one that ends
      └── N times: the same program with --http-fd, its own listening socket of the one port; gRPC binds the other itself

Each worker has a listening socket of its own (SO_REUSEPORT): on one that all share, connections that stay open pile up
on whichever worker is quickest to accept.
"""

import logging
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import IO, Final

from moorage.api.exit_codes import ExitCode
from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage_predictor import log
from moorage_predictor.orphans import wait_for_end_of_parent
from moorage_predictor.wire import binding

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.05
_STOP_MARGIN_S: Final = 5.0
_RESTART_PAUSE_S: Final = 1.0


@dataclass
class _Worker:
    number: int
    process: "subprocess.Popen[str]"
    ready: threading.Event = field(default_factory=threading.Event)
    reader: threading.Thread | None = None


class Workers:
    """The parent."""

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._workers: list[_Worker] = []
        self._told_ready = False

    def run(self) -> ExitCode:
        """Until told to stop, or until a worker cannot start at all: then its exit code.

        Raises:
            PortTaken: a port is not free.
        """
        settings = self._settings
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        held = [
            binding.hold(settings.host, settings.http_port, "--http-port"),
            binding.hold(settings.host, settings.grpc_port, "--grpc-port"),
        ]
        http_port, grpc_port = (each.getsockname()[1] for each in held)
        self._settings = settings.model_copy(update={"http_port": http_port, "grpc_port": grpc_port})
        if settings.exit_with_parent:
            threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()
        try:
            # The first takes connections at once: somebody must say that the process lives.
            self._workers = [self._start(number, late=number > 0) for number in range(settings.workers)]
            return self._watch()
        finally:
            self._end()
            for each in held:
                each.close()

    def _start(self, number: int, *, late: bool) -> _Worker:
        settings = self._settings
        shared = binding.share(settings.host, settings.http_port)
        changes = {"workers": 1, "http_fd": shared.fileno(), "exit_with_parent": True, "listen_late": late}
        own = settings.model_copy(update=changes)
        process = subprocess.Popen(
            [sys.executable, "-m", "moorage_predictor", *own.argv()],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=[shared.fileno()],
            start_new_session=True,  # Ctrl-C reaches the parent alone
        )
        shared.close()  # the worker's alone: with it goes what waits for it, and new connections go to the others
        worker = _Worker(number, process)
        worker.reader = threading.Thread(target=self._relay, args=(worker, process.stderr), daemon=True)
        worker.reader.start()
        return worker

    def _relay(self, worker: _Worker, stream: IO[str] | None) -> None:
        """A worker's words are ours; of progress only the first worker's, and `ready` once all are."""
        for line in stream or ():
            step = LoadProgress.from_line(line.rstrip("\n"))
            if step is None:
                sys.stderr.write(line)
                sys.stderr.flush()
            elif step.stage == "ready":
                worker.ready.set()
            elif worker.number == 0 and not self._told_ready:
                log.progress(step)

    def _watch(self) -> ExitCode:
        while not self._stop.wait(_POLL_S):
            if not self._told_ready and all(worker.ready.is_set() for worker in self._workers):
                self._told_ready = True
                _log.info("ready", extra={"workers": len(self._workers)})
                log.progress(LoadProgress("ready", 1, 1))
            for place, worker in enumerate(self._workers):
                if (code := worker.process.poll()) is None:
                    continue
                if worker.reader:
                    worker.reader.join(1)
                if not worker.ready.is_set() and not self._told_ready:
                    return ExitCode(code) if code in set(ExitCode) else ExitCode.INTERNAL
                _log.error("a worker ended; another is started", extra={"worker": worker.number, "code": code})
                if not worker.ready.is_set():
                    self._stop.wait(_RESTART_PAUSE_S)
                self._workers[place] = self._start(worker.number, late=True)
        return ExitCode.OK

    def _end(self) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        deadline = time.monotonic() + self._settings.shutdown_grace_s + _STOP_MARGIN_S
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _watch_parent(self) -> None:
        wait_for_end_of_parent()
        self._stop.set()
