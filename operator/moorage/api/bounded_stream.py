"""A stream for log lines that keeps nobody waiting who has more to do than to log. Made by `jsonlog.py`.

Who does not read a pipe stops whoever writes to it, once 64 KiB are in it: a server would stop with the event loop.
"""

import json
import os
import select
import threading
import time
from typing import Final

PATIENCE_S: Final = 0.1
"""For one text; none for those after it, until there is room again."""
_PIECE: Final = 4096
"""Bytes for which a pipe that can be written to has room (PIPE_BUF)."""


class BoundedStream:
    """What finds no room is lost and counted; how many texts that were is said before the next that is written."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._room = select.poll()
        self._room.register(fd, select.POLLOUT)
        self._lost = 0
        self._cut = False
        """Whether the last line that was written is not whole."""

    def write(self, text: str) -> int:
        """One or more whole lines."""
        with self._lock:
            until = time.monotonic() + (0 if self._lost else PATIENCE_S)
            if self._put((self._told() + text).encode(errors="replace"), until):
                self._lost = 0
            else:
                self._lost += 1
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""

    def _told(self) -> str:
        if not self._lost:
            return ""
        line = json.dumps({"level": "warning", "message": "log lines were lost", "lines": self._lost})
        return f"\n{line}\n" if self._cut else f"{line}\n"

    def _put(self, data: bytes, until: float) -> bool:
        while data:
            if not self._room.poll(max(0.0, until - time.monotonic()) * 1000):
                return False
            try:
                data = data[os.write(self._fd, data[:_PIECE]) :]
            except OSError:  # nobody reads any more, or the disk is full
                return False
            self._cut = bool(data)
        return True
