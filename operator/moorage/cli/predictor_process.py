"""The predictor as a child process: start it, follow its progress, wait until it is ready, let it drain."""

import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from typing import IO

from moorage.api import ExitCode, LoadProgress, PredictorSettings
from moorage.api.child import python
from moorage.api.predictor import ready_path
from moorage.cli.errors import UserError

POLL_S = 0.02
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The predictor is on this machine, whatever `http_proxy` says."""

STOP_MARGIN_S = 5.0


class PredictorProcess:
    """One child. It ends when its standard input closes, so it never outlives us, however we end."""

    def __init__(
        self, settings: PredictorSettings, on_progress: Callable[[LoadProgress], None], on_line: Callable[[str], None]
    ) -> None:
        """Start it.

        Raises:
            UserError: the predictor's dependencies are not installed.
        """
        missing = [name for name in ("torch", "kserve", "timm") if find_spec(name) is None]
        if missing:
            raise UserError(
                f"the predictor needs {', '.join(missing)}: install them with pip install 'moorage[predictor]'",
                ExitCode.UNAVAILABLE,
            )
        self._settings, self._on_progress, self._on_line = settings, on_progress, on_line
        self._told_ready = threading.Event()
        self._child = subprocess.Popen(
            python("-m", "moorage_predictor", *settings.argv()),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches us alone; we let the child drain
        )
        self._reader = threading.Thread(target=self._read, args=(self._child.stderr,), daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Where its HTTP listener is."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._settings.http_port}"

    def wait_ready(self, stopped: threading.Event) -> bool:
        """Wait for the readiness endpoint that a kubelet would ask. False if `stopped` was set first.

        Raises:
            UserError: the child ended before; with its own words and exit code.
        """
        while not stopped.wait(POLL_S):
            if (code := self._child.poll()) is not None:
                self._reader.join(timeout=2)
                raise UserError("", _exit_code(code))
            # Its own word comes first: something else may answer on the port before the child has tried to take it.
            if self._told_ready.is_set() and self._answers():
                return True
        return False

    def wait(self, stopped: threading.Event) -> ExitCode | None:
        """Wait until `stopped` is set (None) or the child ends by itself (its exit code)."""
        while not stopped.wait(0.2):
            if (code := self._child.poll()) is not None:
                return _exit_code(code)
        return None

    def stop(self) -> ExitCode:
        """Ask it to drain and wait for its end; kill it only if it overstays its own grace period."""
        asked = self._child.poll() is None
        if asked:
            self._child.terminate()
        try:
            code = self._child.wait(
                timeout=self._settings.drain_delay_s + self._settings.shutdown_grace_s + STOP_MARGIN_S
            )
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        self._reader.join(timeout=2)
        self._close_pipes()
        # Before it has its handlers, and so before any request, it ends by the signal itself.
        return ExitCode.OK if asked and code == -signal.SIGTERM else _exit_code(code)

    def _close_pipes(self) -> None:
        for pipe in (self._child.stdin, None if self._reader.is_alive() else self._child.stderr):
            if pipe is not None:
                pipe.close()

    def _answers(self) -> bool:
        try:
            with DIRECTLY.open(self.url + ready_path(self._settings.model_name), timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _read(self, stream: IO[str] | None) -> None:
        for line in stream or ():
            text = line.rstrip("\n")
            progress = LoadProgress.from_line(text)
            if progress is not None:
                self._on_progress(progress)
                if progress.stage == "ready":
                    self._told_ready.set()
            else:
                self._on_line(text)


def relay(line: str) -> None:
    """The predictor's own words: errors always, its log lines only from warnings on."""
    if line.startswith("{"):
        try:
            level = json.loads(line).get("level", "info")
        except ValueError:
            level = "error"
        if level in ("debug", "info"):
            return
    sys.stderr.write(line + "\n")


def _exit_code(code: int) -> ExitCode:
    try:
        return ExitCode(code)
    except ValueError:
        return ExitCode.INTERNAL
