"""One TorchServe below this process: started, watched, started again when it ends, and ended with this process, however that
ends. Made by `load.py`.

    pack ──> start ──> the worker has loaded ──> ready ──> it ends, or hangs, or stays unhealthy ──> it is ended ─┐
               ^                                                                                                 │
               └──────────────────────────── after a pause ──────────────────────────────────────────────────────┘

A first start that fails is a load that fails, and who started the predictor decides how long it may take; later ones are tried for
as long as the predictor lives, and given up when they take many times as long as the first. Its folder goes with it.
"""

import contextlib
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import LoadFailed, ModelUnavailable, StartError
from moorage_predictor.tasks.torchserve.configuration import Layout, command, environment
from moorage_predictor.tasks.torchserve.connection import Connection

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.1
_PING_S: Final = 1.0
_ANSWER_S: Final = 1.5
"""How long a ping waits."""
_MISSED: Final = 3
"""Pings without a good answer, one after the other: it is not ready. Without any answer: it hangs, and is replaced."""
_UNHEALTHY: Final = 60
"""Pings whose answer is that it is not healthy: it is replaced. Until then it may have replaced its worker by itself."""
_ASK_S: Final = 5.0
_LATER_STARTS: Final = 5
"""How many times as long as the first start a later one may take, if that is more than `_SHORTEST_LIMIT_S`."""
_SHORTEST_LIMIT_S: Final = 60.0
_LONGEST_PAUSE_S: Final = 30.0
_STOP_S: Final = 5.0
_LAST_LINES: Final = 5


class Process:
    """It, and whoever takes its place."""

    def __init__(
        self, java: str, layout: Layout, model_name: str, timeout_s: float, shortest_limit_s: float = _SHORTEST_LIMIT_S
    ) -> None:
        """`timeout_s` is of one pass, 0 is never; `shortest_limit_s` of a later start."""
        self._command = command(java, layout)
        self._layout = layout
        self._model_name = model_name
        self._timeout_s = timeout_s or None
        self._shortest_limit_s = shortest_limit_s
        self._start_limit_s = math.inf
        self._stopping = threading.Event()
        self._settled = threading.Event()
        """Whether the first start has come to an end."""
        self._failure: StartError | None = None
        self._connection: Connection | None = None
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self.ready = False
        """Whether it answers now."""
        self.described: dict[str, Any] = {}
        # The kernel ends a child with the thread that started it: this one stays.
        self._thread = threading.Thread(target=self._supervise, name="torchserve", daemon=True)

    def start(self, cancelled: threading.Event) -> dict[str, Any]:
        """Wait until it answers; what its handler says of the network.

        Raises:
            LoadFailed: it ended, or its handler could not load the network.
        """
        self._thread.start()
        while not self._settled.wait(_POLL_S):
            if cancelled.is_set():
                self.stop()
        if self._failure:
            raise self._failure
        if not self.described:
            raise LoadFailed("TorchServe", "told to stop before it answered")
        return self.described

    def forward(self, rows: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """See `Connection.forward`.

        Raises:
            ModelUnavailable: there is none now.
        """
        connection = self._connection
        if connection is None:
            raise ModelUnavailable("TorchServe does not answer; it is being started again")
        return connection.forward(rows, threads)

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join(2 * _STOP_S)

    def _supervise(self) -> None:
        try:
            self._keep_running()
        finally:
            self._layout.remove()

    def _keep_running(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                with self._running() as child:
                    self._get_ready(child)
                    failures = 0
                    self._watch(child)
            except Exception as error:  # noqa: BLE001 - whatever it was, somebody waits
                if not self._settled.is_set():
                    ours = error if isinstance(error, StartError) else None
                    self._failure = ours or LoadFailed("TorchServe", f"cannot be started: {error}")
                    self._settled.set()
                    return
                failures += 1
                pause = min(_LONGEST_PAUSE_S, 2.0 ** (failures - 1))
                _log.error("TorchServe ended; it is started again", extra={"reason": str(error), "in_s": pause})
                self._stopping.wait(pause)
        self._settled.set()

    @contextlib.contextmanager
    def _running(self) -> "Iterator[subprocess.Popen[str]]":
        work = self._layout.work
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        self._last_lines.clear()
        child = subprocess.Popen(
            self._command,
            cwd=work,
            env=environment(self._layout),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            umask=0o077,
            start_new_session=True,  # its workers go with it
        )
        reader = threading.Thread(target=self._read, args=(child,), daemon=True)
        reader.start()
        try:
            yield child
        finally:
            self.ready, connection, self._connection = False, self._connection, None
            if connection:
                connection.close()
            _end(child)
            reader.join(_STOP_S)
            if child.stdout and not reader.is_alive():
                child.stdout.close()

    def _get_ready(self, child: "subprocess.Popen[str]") -> None:
        layout, connection, started = self._layout, None, time.monotonic()
        while not self._stopping.wait(_POLL_S):
            took_s = time.monotonic() - started
            if took_s > self._start_limit_s:
                raise LoadFailed("TorchServe", f"did not answer within {self._start_limit_s:.0f} s: {self._words()}")
            if child.poll() is not None:
                raise LoadFailed("TorchServe", f"ended with code {child.returncode}: {self._words()}")
            if layout.failure.is_file():
                raise LoadFailed("TorchServe", layout.failure.read_text(encoding="utf-8"))
            if connection is None and layout.socket.exists() and (token := self._token()):
                connection = self._connection = Connection(layout.socket, token, self._model_name, self._timeout_s)
            if connection is not None:
                with contextlib.suppress(ModelUnavailable):
                    self.described = connection.describe(_ASK_S)
                    self.ready = True
                    if not self._settled.is_set():
                        self._start_limit_s = max(self._shortest_limit_s, _LATER_STARTS * took_s)
                    self._settled.set()
                    return

    def _watch(self, child: "subprocess.Popen[str]") -> None:
        """Until it ends, hangs or stays unhealthy, or we stop."""
        pinged, silent, unhealthy = time.monotonic(), 0, 0
        while not self._stopping.wait(_POLL_S):
            if child.poll() is not None:
                self.ready = False
                raise LoadFailed("TorchServe", f"ended with code {child.returncode}: {self._words()}")
            if time.monotonic() - pinged > _PING_S and self._connection:
                said, pinged = self._connection.healthy(_ANSWER_S), time.monotonic()
                silent, unhealthy = silent + 1 if said is None else 0, 0 if said else unhealthy + 1
                if (ready := unhealthy < _MISSED) != self.ready:
                    _log.warning("TorchServe is healthy again" if ready else "TorchServe is not healthy")
                self.ready = ready
                if silent >= _MISSED or unhealthy >= _UNHEALTHY:
                    child.kill()  # a process that is stopped does not end by itself
                    raise LoadFailed("TorchServe", "does not answer" if silent else "says that it is not healthy")

    def _token(self) -> str | None:
        """What callers must show. The file goes: nobody else needs it."""
        try:
            token: str = json.loads(self._layout.token.read_text())["inference"]["key"]
        except (OSError, ValueError, KeyError):  # not there yet, or not whole
            return None
        self._layout.token.unlink()
        return token

    def _read(self, child: "subprocess.Popen[str]") -> None:
        for line in child.stdout or ():
            if text := line.strip():
                self._last_lines.append(text)
                level = logging.WARNING if text.startswith(("WARN ", "ERROR ", "FATAL ")) else logging.DEBUG
                _log.log(level, "TorchServe says", extra={"line": text[:1000]})

    def _words(self) -> str:
        return " / ".join(self._last_lines) or "it said nothing"


def _end(child: "subprocess.Popen[str]") -> None:
    """Of the process and of its workers."""
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_STOP_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
