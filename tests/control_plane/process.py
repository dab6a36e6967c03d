"""One daemon of the control plane (or the stand-in beside it): started with a log file, ended by its own id.

Nothing may survive a test run, however it ends: stop() ends the process, atexit does when stop() was never reached, and
on Linux the kernel does when pytest itself is killed.
"""

import atexit
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None  # loaded before any fork
STOP_TIMEOUT_S = 3.0


class ProcessDied(Exception):
    """A daemon ended by itself; the message carries the end of its log."""


class Process:
    """A running child with its log. Its parent thread must live as long as it does (see _end_with_parent)."""

    def __init__(self, name: str, command: Sequence[str | Path], log_path: Path, **environment: str) -> None:
        self.name = name
        self.log_path = log_path
        parent = os.getpid()
        with log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,  # Ctrl-C is pytest's to handle; it then stops us in order
                # Unsafe beside threads that hold locks at the fork; what runs there is two system calls.
                preexec_fn=(lambda: _end_with_parent(parent)) if LIBC is not None else None,  # noqa: PLW1509
            )
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def log_tail(self, characters: int = 3000) -> str:
        return self.log_path.read_text(errors="replace")[-characters:]

    def check(self) -> None:
        if not self.running:
            raise ProcessDied(f"{self.name} ended with status {self._child.returncode}:\n{self.log_tail()}")

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask, wait, then insist; safe to call twice."""
        atexit.unregister(self.stop)
        if not self.running:
            return
        self._child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout_s)
            return
        self._child.kill()
        self._child.wait()


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: all are held at once so that they differ, then let go."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _end_with_parent(parent: int) -> None:
    """In the child, before exec: ask the kernel for SIGKILL when the thread that started us is gone."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
