"""Several predictor processes on one pair of ports. `runtime` calls it instead of serving itself when told `--workers=N`.

    parent: holds both ports, starts N predictors, relays their words, replaces one that ends or gives no sign of life
      └── N times: the same program with --http-fd, its own listening socket of the one port; gRPC binds the other itself

Each worker has a listening socket of its own (SO_REUSEPORT): on one that all share, connections that stay open pile up
on whichever worker is quickest to accept.

One that ends is replaced at once, and later and later if that happens again and again, or if it cannot be started; then the
others are told not to be ready, with the reason, so that the trouble is seen before the last of them has it.
"""

import logging
import subprocess
import threading
import time
from typing import Any, Final

from moorage.api import jsonlog
from moorage.api.exit_codes import ExitCode
from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage.api.signal_event import SignalEvent, when_told_to_stop
from moorage_predictor import log
from moorage_predictor.orphans import wait_for_end_of_parent
from moorage_predictor.scratch import scratch
from moorage_predictor.wire import binding
from moorage_predictor.worker import HoldBack, Worker

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.05
_STOP_MARGIN_S: Final = 5.0
_LOADING_S: Final = 120.0
"""How long a worker that is not ready yet may give no sign of life: imports from a slow disk hold everything up."""
_STEADY_S: Final = 30.0
"""Whoever answers for so long is well; what happened before no longer counts."""
_LONGEST_PAUSE_S: Final = 60.0
_A_LOOP: Final = 3
"""Ends one after the other that are no accident."""
_STOOD_STILL_S: Final = 1.0
"""A turn of the watch that took longer says that this process was held up, and with it perhaps all of them."""


class Workers:
    """The parent."""

    def __init__(self, settings: PredictorSettings) -> None:
        self._settings = settings
        self._stop = SignalEvent()
        self._workers: list[Worker] = []
        self._told_ready = self._first_ready = False
        self._held_back = HoldBack(None)
        self._looked_at = time.monotonic()

    def run(self) -> ExitCode:
        """Until told to stop, or until a worker cannot start at all: then its exit code.

        Raises:
            PortTaken: a port is not free.
        """
        settings = self._settings
        when_told_to_stop(self._stop.set)
        held = [
            binding.hold(settings.host, settings.http_port, "--http-port"),
            binding.hold(settings.host, settings.grpc_port, "--grpc-port"),
        ]
        ports: dict[str, Any] = {"http_port": held[0].getsockname()[1], "grpc_port": held[1].getsockname()[1]}
        if settings.metrics_port is not None:
            held.append(binding.hold(settings.host, settings.metrics_port, "--metrics-port"))
            ports["metrics_port"] = held[2].getsockname()[1]
        with scratch() as folder:
            self._settings = settings.model_copy(update={**ports, "metrics_dir": folder})
            if settings.exit_with_parent:
                threading.Thread(target=self._watch_parent, name="parent", daemon=True).start()
            self._workers = [Worker(number) for number in range(settings.workers)]
            code = ExitCode.INTERNAL
            try:
                for worker in self._workers:
                    # The first takes connections at once: somebody must say that the process lives.
                    self._start(worker, late=worker.number > 0)
                code = self._watch()
            finally:
                all_answered = self._end()
                for each in held:
                    each.close()
        return code if all_answered or code != ExitCode.OK else ExitCode.UNFINISHED

    def _start(self, worker: Worker, *, late: bool) -> None:
        settings = self._settings
        if self._told_ready:  # whoever takes another's place and cannot load would be a place that nobody fills
            settings = settings.model_copy(update={"on_load_failure": "exit"})
        worker.start(settings, self._relay, late=late)
        worker.tell(self._word_for(worker))

    def _relay(self, worker: Worker, line: str) -> None:
        """A worker's words are ours; of progress only the first worker's, and `ready` once all are."""
        step = LoadProgress.from_line(line.rstrip("\n"))
        if step is None:
            jsonlog.stderr().write(line)
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
            self._first_ready = self._first_ready or self._workers[0].ready.is_set()
            now = time.monotonic()
            self._forgive_standstill(now)
            for worker in self._workers:
                if worker.process is None:
                    if now >= worker.start_at:
                        self._replace(worker, now)
                elif (code := worker.process.poll()) is not None:
                    if not worker.ready.is_set() and not self._told_ready:
                        worker.let_go()
                        return ExitCode(code) if code in set(ExitCode) else ExitCode.INTERNAL
                    self._ended(worker, code, now)
                else:
                    self._check(worker, now)
            self._hold_back()
        return ExitCode.OK

    def _forgive_standstill(self, now: float) -> None:
        """Who freezes this process, or the machine, freezes the workers too: they get their time anew."""
        if now - self._looked_at > _STOOD_STILL_S:
            for worker in self._workers:
                worker.heard_at = now
        self._looked_at = now

    def _replace(self, worker: Worker, now: float) -> None:
        """Start one in the place of one that has ended; if that cannot be, the others go on, and it is tried again later."""
        try:
            self._start(worker, late=True)
        except (OSError, RuntimeError) as error:  # no more files, memory or processes; threads: RuntimeError
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            pause = self._failed(worker, f"no new process: {reason}", now)
            _log.error(
                "a worker cannot be started; it is tried again",
                extra={"worker": worker.number, "reason": reason, "times": worker.failures, "in_s": pause},
            )

    def _check(self, worker: Worker, now: float) -> None:
        """Of a process that runs: whether it gives signs of life, and whether it is well."""
        if worker.ready_at is None and worker.ready.is_set():
            worker.ready_at = now
        if worker.ready_at is not None and now - worker.ready_at > _STEADY_S:
            worker.failures = 0
        worker.listen(now)  # before the time is judged: this process may itself have stood still
        limit = self._settings.worker_timeout_s
        if worker.ready_at is None:
            limit = max(limit, _LOADING_S)
        if now - worker.heard_at > limit and worker.process:
            _log.error("a worker gives no sign of life; it is killed", extra={"worker": worker.number, "for_s": limit})
            worker.process.kill()  # it also ends what is stopped; SIGTERM does not
            worker.heard_at = now  # one that takes long to end is not to be told of at every look

    def _ended(self, worker: Worker, code: int, now: float) -> None:
        worker.let_go()
        worker.forget_gauges(self._settings)
        pause = self._failed(worker, f"exit code {code}" if code >= 0 else f"signal {-code}", now)
        _log.error(
            "a worker ended; another is started",
            extra={"worker": worker.number, "code": code, "times": worker.failures, "in_s": pause},
        )

    def _failed(self, worker: Worker, last_words: str, now: float) -> float:
        """In how many seconds the next process is started there."""
        worker.failures += 1
        pause = 0.0 if worker.failures == 1 else min(_LONGEST_PAUSE_S, 2.0 ** (worker.failures - 2))
        worker.start_at, worker.last_words = now + pause, last_words
        return pause

    def _word_for(self, worker: Worker) -> HoldBack:
        """The first worker takes connections while it loads: one that is quicker is not to say for it that requests are answered
        here."""
        if self._held_back.reason or self._first_ready or worker is self._workers[0]:
            return self._held_back
        return HoldBack("the first worker is still loading")

    def _hold_back(self) -> None:
        """Tell the workers whose word has changed: one of them begins or ceases to end again and again, or the first is ready."""
        worst = max(self._workers, key=lambda worker: worker.failures)
        reason = None
        if worst.failures >= _A_LOOP:
            reason = (
                f"worker {worst.number} ended {worst.failures} times in a row, with {worst.last_words}; see the log"
            )
        self._held_back = HoldBack(reason)
        for worker in self._workers:
            worker.tell(self._word_for(worker))

    def _end(self) -> bool:
        """Whether every worker has answered everything."""
        settings = self._settings
        for worker in self._workers:
            if worker.process and worker.process.poll() is None:
                worker.process.terminate()
        deadline = time.monotonic() + settings.drain_delay_s + settings.shutdown_grace_s + _STOP_MARGIN_S
        all_answered = True
        for worker in self._workers:
            if worker.process is None:
                continue
            try:
                code = worker.process.wait(max(0.1, deadline - time.monotonic()))
                all_answered = all_answered and code != ExitCode.UNFINISHED
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
                all_answered = False
            worker.let_go()
        return all_answered

    def _watch_parent(self) -> None:
        wait_for_end_of_parent()
        self._stop.set()
