"""Notices that this process no longer does its work. Started by `runtime`; `workers` reads the heartbeat of each worker.

    event loop ── every second ──> a byte in the heartbeat's pipe          (`--workers`: none for a while -> killed)
               └─ every second ──> has any model done anything since last time? (no, for long -> the process ends itself)
    a thread   ── every second ──> the byte, while a model's call runs on the event loop itself
    a thread   ── every second ──> is such a call in work for too long, or the process past its end? (it ends itself)

The loop can be busy for long with good reason in one case alone, a model that was quick enough to run on it and is not this
time (`wire/lane.py`); then the threads speak and look for it.
"""

import asyncio
import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from moorage.api.exit_codes import ExitCode

if TYPE_CHECKING:
    from moorage_predictor.wire.pipeline import Pipeline

_LOOK_S: Final = 1.0
_BEATS: Final = 5
"""In the time after which a worker without one is given up."""

Pipelines = Callable[[], Iterable[tuple[str, "Pipeline"]]]
"""Those that answer now or finish what they have, with the names of their models."""


async def until_hung(pipelines: Pipelines, limit_s: float) -> str:
    """Returns, with the sentence for people, once a model has had requests for `limit_s` and has come to an end of none of
    them. One whose callers give up counts as well, unless it does come to an end of what they asked; one that nobody calls
    does not, or whose callers take long to read. 0: never."""
    stuck: dict[Pipeline, tuple[int, float]] = {}
    while True:
        await asyncio.sleep(_LOOK_S)
        found: dict[Pipeline, tuple[int, float]] = {}
        for name, pipeline in pipelines():
            done, seconds = stuck.get(pipeline, (pipeline.done, 0.0))
            if pipeline.done != done:
                seconds = 0.0
            elif pipeline.at_work:
                seconds += _LOOK_S
            if limit_s and seconds >= limit_s:
                return _hangs(name, seconds, limit_s)
            found[pipeline] = pipeline.done, seconds
        stuck = found


def _hangs(name: str, seconds: float, limit_s: float) -> str:
    return f"the model {name} has answered nothing for {seconds:g} s (--forward-timeout-s={limit_s:g})"


class LoopWatch:
    """Ends the process where its event loop cannot, because a call of a model's stands still on it."""

    def __init__(
        self, pipelines: Pipelines, forward_limit_s: float, stop_limit_s: float, end: Callable[[ExitCode, str], None]
    ) -> None:
        """`end` is called in a thread, with the exit code and the sentence for people. 0 seconds for a call: it may take
        for ever, until the process is told to stop."""
        self._pipelines = pipelines
        self._forward_limit_s = forward_limit_s
        self._stop_limit_s = stop_limit_s
        self._end = end
        self._stop_by = math.inf

    def start(self) -> None:
        """From now on."""
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def told_to_stop(self) -> None:
        """From now on the process has `stop_limit_s`."""
        self._stop_by = min(self._stop_by, time.perf_counter() + self._stop_limit_s)

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            now = time.perf_counter()
            if now > self._stop_by:
                reason = f"not at an end {self._stop_limit_s:g} s after it was told to stop"
                return self._end(ExitCode.UNFINISHED, reason)
            for name, pipeline in list(self._pipelines()):
                since = pipeline.lane.here_since
                if since and self._forward_limit_s and now - since >= self._forward_limit_s:
                    return self._end(ExitCode.INTERNAL, _hangs(name, round(now - since), self._forward_limit_s))


class Heartbeat:
    """One worker's, into a pipe that its parent reads."""

    def __init__(self, fd: int, timeout_s: float, pipelines: Pipelines, forward_limit_s: float) -> None:
        self._fd = fd
        os.set_blocking(fd, False)  # a parent that does not read must not stop us
        os.set_inheritable(fd, False)
        self._period_s = timeout_s / _BEATS
        self._pipelines = pipelines
        self._forward_limit_s = forward_limit_s

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, as long as the loop runs."""
        self._loop = loop
        self._on_loop()
        threading.Thread(target=self._speak_for_long_calls, name="heartbeat", daemon=True).start()

    def _on_loop(self) -> None:
        self._beat()
        self._loop.call_later(self._period_s, self._on_loop)

    def _speak_for_long_calls(self) -> None:
        while True:
            time.sleep(self._period_s)
            now = time.perf_counter()
            for _, pipeline in list(self._pipelines()):
                since = pipeline.lane.here_since
                if since and (not self._forward_limit_s or now - since < self._forward_limit_s):
                    self._beat()

    def _beat(self) -> None:
        with contextlib.suppress(OSError):  # it is full, or the parent has gone, which standard input tells
            os.write(self._fd, b".")
