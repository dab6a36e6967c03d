"""One JSON line on standard output for each request, with `--request-log`. Called by `observer`.

    write() on the event loop -> at most 16,384 lines in memory -> a thread, 20 times a second -> standard output

Who reads the lines too slowly delays nobody: what finds no room is dropped and counted. A line is at most as long as a pipe
takes at once (PIPE_BUF), so that the lines of several workers never run into each other.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import orjson

_PIPE_BUF: Final = 4096
_MOST_LINES: Final = 16_384
_EVERY_S: Final = 0.05
_CLOSE_S: Final = 1.0
_SHOWN: Final = 200
"""Characters of what comes from outside."""


class RequestLog:
    """Of one process. Only the event loop writes."""

    def __init__(self, fd: int, dropped: Callable[[int], None], *, only_errors: bool = False) -> None:
        """`dropped` is told, in a thread, how many lines have been lost since it was told the last time."""
        self.only_errors = only_errors
        self._fd = fd
        self._tell_dropped = dropped
        self._lines: deque[bytes] = deque()
        self._lost = 0
        self._told = 0
        self._second = 0
        self._date = ""
        self._some = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="request-log", daemon=True)
        self._thread.start()

    def write(self, request_id: str, fields: dict[str, Any]) -> None:
        """One line: what every line of the process's log has, the id, and the fields."""
        if len(self._lines) >= _MOST_LINES:
            self._lost += 1
            return
        head = '{"time":"%s","level":"info","logger":"moorage.requests","message":"request","request_id":"%s",'
        line = (head % (self._time(), request_id)).encode() + orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)[1:]
        if len(line) > _PIPE_BUF:
            self._lost += 1
            return
        self._lines.append(line)
        # Asked when the line is there, and cleared before the lines are taken: none is forgotten.
        if not self._some.is_set():
            self._some.set()

    def _time(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._date = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._date}.{int((now - second) * 1000):03d}+00:00"

    def close(self) -> None:
        """Write what is left, unless nobody takes it."""
        self._closed = True
        self._some.set()
        self._thread.join(_CLOSE_S)

    def _work(self) -> None:
        while not self._closed or self._lines:
            self._some.wait()
            if not self._closed:
                time.sleep(_EVERY_S)  # what comes meanwhile shares a write
            self._some.clear()
            self._write_all()

    def _write_all(self) -> None:
        unwritten = size = 0
        together: list[bytes] = []
        for _ in range(len(self._lines)):
            line = self._lines.popleft()
            size += len(line)
            if size > _PIPE_BUF:
                unwritten += self._put(b"".join(together))
                together.clear()
                size = len(line)
            together.append(line)
        unwritten += self._put(b"".join(together))
        lost = self._lost
        if unwritten or lost != self._told:
            self._tell_dropped(unwritten + lost - self._told)
            self._told = lost

    def _put(self, lines: bytes) -> int:
        """How many of the lines were lost."""
        left = memoryview(lines)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:  # nobody reads any more, or the disk is full
            return bytes(left).count(b"\n")
        return 0


def plain(text: str) -> str:
    """What came from outside, cut, and with nothing in it that could move the cursor of who reads it."""
    text = text[:_SHOWN]
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
