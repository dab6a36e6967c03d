"""One JSON line on standard output for each request, with `--request-log`. Called by `observer`, on the event loop alone.

    write() -> at most 16,384 requests in memory -> 20 times a second, all together: made into lines
                                                      ├── a pipe, as of containers: written at once, as far as it has room
                                                      └── a file, a terminal: a thread writes

Who reads the lines too slowly delays nobody: what finds no room is dropped and counted. A pipe gets no more at once than it takes
whole (PIPE_BUF), so that the lines of several workers never run into each other; and it needs no thread, which would take the
interpreter's lock from the loop for each piece.
"""

import asyncio
import errno
import fcntl
import os
import queue
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from moorage_predictor.telemetry.record import Record

_PIPE_BUF: Final = 4096
_PIPE_BYTES: Final = 1 << 20
"""Asked for: 50 ms of a busy server's lines are more than the 64 KiB that a pipe has by itself."""
_FILE_BYTES: Final = 1 << 20
"""Of one write to a file, where no two run into each other however long they are."""
_MOST_LINES: Final = 16_384
_EVERY_S: Final = 0.05
_AT_ONCE: Final = 1000
"""Lines that are made in one turn of the loop: two or three milliseconds."""
_CLOSE_S: Final = 1.0
_SHOWN: Final = 200
"""Characters of what comes from outside."""
_NOWAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)
_CANNOT: Final = frozenset({errno.EOPNOTSUPP, errno.ESPIPE, errno.EINVAL, errno.ENOSYS})
"""Of a kernel that knows no RWF_NOWAIT for pipes: Linux before 6.4."""


class Common(NamedTuple):
    """What many requests have in common: written out once for all of their lines."""

    fields: Mapping[str, Any]
    text: str
    """The same as members of a JSON object, each with a comma after it."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Common":
        """These."""
        return cls(fields, orjson.dumps(fields)[1:-1].decode() + "," if fields else "")


_Request = tuple[int, Record, Common, Mapping[str, Any], int]
"""When it ended (time_ns), then what `RequestLog.write` is given."""


class RequestLog:
    """Of one process."""

    def __init__(self, fd: int, dropped: Callable[[int], None], *, only_errors: bool = False) -> None:
        """`dropped` is told how many lines have been lost since it was told the last time."""
        self.only_errors = only_errors
        self._fd = fd
        self._tell_dropped = dropped
        self._requests: deque[_Request] = deque()
        """Not lines yet: those of many requests are made in less time, one after the other, than each at its request's end."""
        self._lines: deque[bytes] = deque()
        self._lost = 0
        self._now_ms = 0
        self._now = ""
        self._timer: asyncio.TimerHandle | None = None
        self._context = Context()  # the timer shall not hold the record of the request that set it
        kind = os.fstat(fd).st_mode
        self._writer: _Writer | None = None
        self._most = _FILE_BYTES if stat.S_ISREG(kind) else _PIPE_BUF
        if _NOWAIT and stat.S_ISFIFO(kind):
            _grow(fd)
        else:
            self._writer = _Writer(fd)

    def write(self, record: Record, common: Common, fields: Mapping[str, Any], ended: int) -> None:
        """One line: what every line of the process's log has, the request's id, what it has in common with others, `fields`, and
        its durations until `ended` (perf_counter_ns)."""
        if len(self._lines) + len(self._requests) >= _MOST_LINES:
            self._lost += 1
            return
        self._requests.append((time.time_ns(), record, common, fields, ended))
        if self._timer is None:
            self._timer = self._later()

    def _make_lines(self) -> None:
        requests, lines = self._requests, self._lines
        for _ in range(min(len(requests), _AT_ONCE)):
            time_ns, record, common, fields, ended = requests.popleft()
            begin = f'{{"time":"{self._time(time_ns)}","level":"info","logger":"moorage.requests","message":"request",'
            head = f'{begin}"request_id":"{record.id}",{common.text}'
            more = {**fields, **record.durations(ended)}
            line = head.encode() + orjson.dumps(more, option=orjson.OPT_APPEND_NEWLINE)[1:]
            if len(line) <= _PIPE_BUF:
                lines.append(line)
            else:
                self._lost += 1

    def _time(self, time_ns: int) -> str:
        now_ms = time_ns // 1_000_000
        if now_ms != self._now_ms:
            self._now_ms = now_ms
            self._now = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return self._now

    async def close(self) -> None:
        """Write what is left, unless nobody takes it."""
        until = time.monotonic() + _CLOSE_S
        while self._timer is not None:
            self._timer.cancel()
            if time.monotonic() > until:
                break
            self._flush()
            await asyncio.sleep(0.01)
        if self._writer is not None:
            self._writer.end()

    def _flush(self) -> None:
        self._make_lines()
        if self._writer is None:
            self._write_now()
        writer = self._writer  # it may just have been found to be needed
        if writer is not None and writer.idle:
            if self._lines:
                writer.put(list(iter(self._taken, b"")))
            self._lost += writer.lost
            writer.lost = 0
        waits = self._requests or self._lines or not (writer is None or writer.idle)
        self._timer = self._later() if waits else None
        if self._lost:
            self._tell_dropped(self._lost)
            self._lost = 0

    def _later(self) -> asyncio.TimerHandle:
        delay = _EVERY_S if len(self._requests) < _AT_ONCE else 0.0
        return asyncio.get_running_loop().call_later(delay, self._flush, context=self._context)

    def _write_now(self) -> None:
        while piece := self._taken():
            try:
                os.pwritev(self._fd, [piece], -1, _NOWAIT)
            except BlockingIOError:  # full
                self._lines.extendleft(reversed(piece.splitlines(keepends=True)))
                return
            except OSError as error:
                if error.errno not in _CANNOT:  # nobody reads any more
                    self._lost += piece.count(b"\n")
                    continue
                self._lines.extendleft(reversed(piece.splitlines(keepends=True)))
                self._writer = _Writer(self._fd)
                return

    def _taken(self) -> bytes:
        """Lines for one write."""
        lines, taken, size = self._lines, [], 0
        while lines and (size := size + len(lines[0])) <= self._most:
            taken.append(lines.popleft())
        return b"".join(taken)


class _Writer:
    """A thread that may be held up by what it writes to."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pieces: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self.idle = True
        self.lost = 0
        """Lines, while idle."""
        threading.Thread(target=self._work, name="request-log", daemon=True).start()

    def put(self, pieces: list[bytes]) -> None:
        """To be written, each at once. Only while idle."""
        self.idle = False
        self._pieces.put(pieces)

    def end(self) -> None:
        """After the last."""
        self._pieces.put(None)

    def _work(self) -> None:
        while (pieces := self._pieces.get()) is not None:
            self.lost += sum(map(self._put, pieces))
            self.idle = True

    def _put(self, lines: bytes) -> int:
        """How many of the lines were lost."""
        left = memoryview(lines)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:  # nobody reads any more, or the disk is full
            return bytes(left).count(b"\n")
        return 0


def _grow(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return  # the user's pipes have as much as they may: fewer lines wait in it, and more of them here


def plain(text: str) -> str:
    """What came from outside, cut, and with nothing in it that could move the cursor of who reads it."""
    text = text[:_SHOWN]
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
