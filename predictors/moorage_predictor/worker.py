"""One of several workers, as its parent sees it: a place, and the process that is in it. Used by `workers`.

Four ways lead across: standard input brings the parent's words, and its end; standard error the worker's words; a pipe its
signs of life; the listening socket is inherited.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from moorage.api.child import python
from moorage.api.predictor import PredictorSettings
from moorage_predictor.wire import binding


@dataclass(frozen=True)
class HoldBack:
    """What the parent tells a worker, as a line on its standard input: not to be ready, and why; None: to be it again."""

    reason: str | None

    def line(self) -> str:
        """One JSON object, no newline."""
        return json.dumps({"hold_back": self.reason})

    @classmethod
    def from_line(cls, line: str) -> Self | None:
        """None for any other line."""
        if not line.startswith('{"hold_back":'):
            return None
        try:
            return cls(json.loads(line)["hold_back"])
        except ValueError:
            return None


_COUNTED_TOGETHER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where `prometheus_client` counts what the models' own code counts with it, so that any worker can tell of all."""


class Worker:
    """One place."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[str] | None = None
        self.ready = threading.Event()
        """Whether the process has said that its model answers."""
        self.ready_at: float | None = None
        """When that was noticed, by `time.monotonic()`."""
        self.heard_at = 0.0
        """Of the last sign of life."""
        self.failures = 0
        """Ends one after the other, each before it was steady."""
        self.last_words = ""
        self.start_at = 0.0
        """Of the next process, where there is none."""
        self._told = HoldBack(None)
        self._heartbeat = -1
        self._pid = 0
        self._reader: threading.Thread | None = None

    def start(self, settings: PredictorSettings, relay: Callable[["Worker", str], None], *, late: bool) -> None:
        """A process with the parent's ports. `relay` gets its words, in a thread.

        Raises:
            OSError, RuntimeError: this machine has no more files, memory or processes to give now; nothing is left behind.
        """
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            # `ours` is undone only if no process comes of it; `theirs` always: it lives on in the process.
            heartbeat, beating = os.pipe()
            ours.callback(os.close, heartbeat)
            theirs.callback(os.close, beating)
            os.set_blocking(heartbeat, False)
            # The socket is the worker's alone: with it goes what waits for it, and new connections go to the others.
            shared = theirs.enter_context(binding.share(settings.host, settings.http_port))
            inherited = [shared.fileno(), beating]
            changes = {
                "workers": 1,
                "http_fd": shared.fileno(),
                "heartbeat_fd": beating,
                "exit_with_parent": True,
                "listen_late": late,
                "worker_number": self.number,
            }
            if settings.metrics_port:
                metrics = theirs.enter_context(binding.share(settings.host, settings.metrics_port))
                inherited.append(metrics.fileno())
                changes["metrics_fd"] = metrics.fileno()
            process = subprocess.Popen(
                python("-m", "moorage_predictor", *settings.model_copy(update=changes).argv()),
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                pass_fds=inherited,
                env={**os.environ, _COUNTED_TOGETHER: settings.metrics_dir or ""},
                start_new_session=True,  # Ctrl-C reaches the parent alone; what the worker starts is its process group
            )
            ours.callback(_end, process)
            self.ready_at, self.ready = None, threading.Event()

            def read() -> None:
                for line in process.stderr or ():
                    relay(self, line)

            self._reader = threading.Thread(target=read, daemon=True)
            self._reader.start()
            ours.pop_all()
        self.process, self._pid, self._heartbeat = process, process.pid, heartbeat
        self.heard_at = time.monotonic()
        self._told = HoldBack(None)

    def listen(self, now: float) -> None:
        """Note a sign of life, if there was one."""
        with contextlib.suppress(BlockingIOError):
            if os.read(self._heartbeat, 4096):
                self.heard_at = now

    def tell(self, word: HoldBack) -> None:
        """Nothing, if it has been told so already, there is no process, or it has just ended."""
        if word != self._told and self.process and self.process.stdin:
            self._told = word
            with contextlib.suppress(OSError):
                self.process.stdin.write(word.line() + "\n")
                self.process.stdin.flush()

    def forget_gauges(self, settings: PredictorSettings) -> None:
        """What the models' own code said of the process that has ended; what was counted there stays counted."""
        with contextlib.suppress(OSError):  # where no file can be opened, not even this module's
            from prometheus_client.multiprocess import mark_process_dead

            mark_process_dead(self._pid, settings.metrics_dir)  # type: ignore[no-untyped-call]

    def let_go(self) -> None:
        """Of a process that has ended, with all that it started: a helper that a model has forked holds the worker's
        listening socket, and connections would go on being given to it, which nobody accepts."""
        if self.process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if self._reader:
            self._reader.join(1)
        if self.process and self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        os.close(self._heartbeat)
        self.process, self._heartbeat = None, -1


def _end(process: "subprocess.Popen[str]") -> None:
    with process:
        process.kill()
