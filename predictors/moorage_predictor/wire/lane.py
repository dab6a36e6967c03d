"""Where a model's own code runs, so that a long forward pass never stops the server's event loop, and health checks with
it. Called by `pipeline.py` and, for loads, by `served.py`.

`Lane`, for ordinary functions: one call at a time, because a `kserve.Model` need not be thread-safe; in a thread, or
right on the server's loop if it is as short as the way to a thread would be. `ModelLoop`, for coroutines: an event loop
of the model's own in a thread, because a coroutine may block as well (KServe's documented example does). `apart`, for what
may take as long as it likes: loads, and ends.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeVar

from moorage.api.apart import apart as apart_from_all
from moorage_predictor.contained import contained, contained_coroutine
from moorage_predictor.telemetry.record import CURRENT

T = TypeVar("T")

QUICK_S: Final = 0.000_5
"""A model whose calls work for less runs on the loop: handing a call to a thread and back costs about a fifth of that."""
WAITS_S: Final = 0.005
"""Unless even the shortest takes longer than this: then it waits for something that is not the interpreter's lock."""
LONG_S: Final = 0.01
"""A call on the loop that worked longer kept everybody waiting. One in a hundred may."""
FAR_TOO_LONG_S: Final = 0.1
"""One of these is enough."""
TRIALS: Final = 32
"""Calls in the thread before a model may be found quick."""
WINDOW: Final = 1000
"""Calls on the loop among which the long ones are counted."""
LONG_IN_A_ROW: Final = 4
"""A busy machine does not interrupt so many calls one after the other: the model waits for something."""
MOST_TRIALS: Final = 32_000
"""Each time that it was found too slow for the loop a model needs ten times as many calls in the thread, up to this."""


class Lane:
    """One model's."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"predict-{name}")
        self._inside = 0
        """Calls in the thread, and waiting for it."""
        self.finished = 0
        """Calls that the thread has come to an end of, be it an error, also where the caller had gone."""
        self._emptied = asyncio.Event()
        self._trials = 0
        self._shortest = self._least_work = FAR_TOO_LONG_S
        self._calls = 0
        self._long_calls = 0
        self._in_a_row = 0
        self._needed = TRIALS
        self.inline = False
        self.here_since = 0.0
        """When the call on the loop began that is in work, by `time.perf_counter()`; 0: none is."""

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result, or what it raises."""
        while self.inline:
            if not self._inside:
                return self._run_here(call)
            # Under steady load the thread would never be idle if it got more.
            await self._emptied.wait()
        self._inside += 1
        self._emptied.clear()
        loop = asyncio.get_running_loop()
        if (record := CURRENT.get()) is not None and record.span is not None:
            call = partial(copy_context().run, call)  # what the model calls belongs to the request's trace
        work = self._pool.submit(_timed, call)
        # Not when the caller is done: one that is cancelled leaves its call behind in the thread.
        work.add_done_callback(lambda done: loop.call_soon_threadsafe(self._left, done.cancelled()))
        result, seconds, worked = await asyncio.wrap_future(work)
        self._learn(seconds, worked)
        return result

    @property
    def busy(self) -> bool:
        """Whether a call is in the thread, or waits for it; perhaps one whose caller has gone."""
        return self._inside > 0

    def _left(self, cancelled: bool) -> None:
        self._inside -= 1
        self.finished += not cancelled
        if not self._inside:
            self._emptied.set()

    def _run_here(self, call: Callable[[], T]) -> T:
        started, worked = time.perf_counter(), time.thread_time()
        self.here_since = started
        try:
            return contained(call)
        finally:
            self.here_since = 0.0
            self._calls += 1
            seconds = time.perf_counter() - started
            if seconds > LONG_S:
                work = time.thread_time() - worked
                # Long without work of its own: the machine had other things to do, or the model waits for something.
                self._long_calls += work > LONG_S
                self._in_a_row += 1
                if work > FAR_TOO_LONG_S or self._long_calls > WINDOW // 100 or self._in_a_row >= LONG_IN_A_ROW:
                    self._leave_the_loop()
            else:
                self._in_a_row = 0
            if self._calls >= WINDOW:
                self._calls = self._long_calls = 0

    def _leave_the_loop(self) -> None:
        self._needed = min(10 * self._needed, MOST_TRIALS)
        self.inline = False
        self._trials = self._calls = self._long_calls = self._in_a_row = 0
        self._shortest = self._least_work = FAR_TOO_LONG_S

    def _learn(self, seconds: float, worked: float) -> None:
        self._trials += 1
        # The least of many: in a thread a call also waits for the interpreter's lock.
        self._shortest = min(self._shortest, seconds)
        self._least_work = min(self._least_work, worked)
        if self._trials >= self._needed:
            self.inline = self._least_work < QUICK_S and self._shortest < WAITS_S
            self._trials, self._shortest, self._least_work = 0, FAR_TOO_LONG_S, FAR_TOO_LONG_S

    def close(self) -> None:
        """After the last call."""
        self._pool.shutdown(wait=False)


class ModelLoop:
    """One model's event loop; its thread starts with the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, or what it raises; cancelled with the caller."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.new_event_loop()
            threading.Thread(target=_serve, args=(loop,), name=f"predict-{self._name}", daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(contained_coroutine(coroutine), loop))

    def close(self) -> None:
        """After the last call."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.close()


async def apart(call: Callable[[], T], name: str) -> T:
    """See `moorage.api.apart`; this one is for a model's own code."""
    return await apart_from_all(lambda: contained(call), name)


def _timed(call: Callable[[], T]) -> tuple[T, float, float]:
    """The result, how long it took, and how long this thread worked."""
    started, worked = time.perf_counter(), time.thread_time()
    result = contained(call)
    return result, time.perf_counter() - started, time.thread_time() - worked
