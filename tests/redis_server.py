"""A real Redis for one test: on a Unix socket in a folder of its own, so that no port is taken, and without a disk."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import redis

from tests.servers import program

_START_S = 10.0


class RedisServer:
    """`url` for ours, `client` to look and to disturb."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self.client = redis.Redis(unix_socket_path=str(self._socket))
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = folder

    def start(self) -> None:
        """Until it answers."""
        options = {"port": "0", "unixsocket": str(self._socket), "save": "", "dir": str(self._folder)}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([program("redis-server"), *words], stdout=subprocess.DEVNULL)
        until = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(redis.ConnectionError):
                self.client.ping()
                return
            if time.monotonic() > until or self._process.poll() is not None:
                self.kill()
                raise RuntimeError("expected redis-server to answer on its socket, found no answer")
            time.sleep(0.01)

    def freeze(self) -> None:
        """It neither answers nor hangs up."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on, also with what was asked meanwhile."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Without a word; what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._socket.unlink(missing_ok=True)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
