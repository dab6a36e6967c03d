"""One model's queue. Called by `wire/pipeline.py` and `wire/model.py`, on the server's event loop.

    submit() -> Item in the bucket of its shape -> a batch, when a worker is free -> run() -> the Item's own future

Every item carries its own future, so one that is cancelled, too late or faulty takes nothing of its neighbours with it.
Nothing waits for company while a worker is idle: a batch is what has gathered while the workers were busy, or in one turn
of the event loop. `max_queue_delay_s` is for models whose cost hardly grows with the rows.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from time import perf_counter, perf_counter_ns
from typing import Any, Final, Generic, Protocol, TypeVar

from moorage_predictor.errors import ModelFault, Overloaded
from moorage_predictor.telemetry.record import CURRENT, Batch

_log = logging.getLogger(__name__)

Payload = TypeVar("Payload")
_Payload = TypeVar("_Payload", contravariant=True)
Outcome = Sequence[Any]
"""For each item, in order, its result, or the exception that is its own fault."""

DEFAULT_PRIORITY: Final = 5
LAST_PRIORITY: Final = 10
"""1 is served first."""
_NEWEST: Final = 0.2
"""Share of the newest measurement in the average."""


Observe = Callable[[int, float, float, int], None]
"""Told of each batch: rows, how long its items waited together, how long it ran, items."""


class Run(Protocol[_Payload]):
    """Works on one batch. `alone`: no other batch runs or waits, so it may take the whole machine."""

    def __call__(self, payloads: Sequence[_Payload], *, alone: bool) -> Awaitable[Outcome]: ...


@dataclass(frozen=True)
class BatchLimits:
    """How batches are made."""

    max_batch_size: int
    """Rows; an item with more runs by itself."""
    max_queue_size: int
    """Rows that may wait."""
    max_queue_delay_s: float = 0.0
    """How long a row may wait for company although a worker is idle, if the batch before had company too."""
    workers: int = 1
    """Batches at a time."""


class Item(Generic[Payload]):
    """One request, or a part of one."""

    __slots__ = ("future", "payload", "record", "rows", "since")

    def __init__(self, payload: Payload, rows: int, since: float, future: "asyncio.Future[Any]") -> None:
        self.payload = payload
        self.rows = rows
        self.since = since
        self.future = future
        self.record = CURRENT.get()
        if self.record is not None and not self.record.entered:
            self.record.entered = perf_counter_ns()


Bucket = list[tuple[int, int, Item[Payload]]]
"""A heap by priority and arrival."""


class Aside:
    """The turn of one row that does not pass the queue. Made by `Batcher.aside`."""

    def __init__(self, ended: Callable[["Aside", float], None]) -> None:
        self._ended = ended
        self._record = CURRENT.get()
        self._started = 0.0
        self.wanted = True
        """Whether its caller still waits, and nobody has come who would have to wait for it."""

    def begin(self) -> None:
        """The forward pass begins, in any thread."""
        self._started = perf_counter()
        if self._record is not None:
            self._record.entered = now = perf_counter_ns()
            self._record.enter(Batch(1), now)

    def end(self) -> None:
        """It has ended, or there was none."""
        self._ended(self, perf_counter() - self._started if self._started else 0.0)

    def gives_way(self) -> bool:
        """Whether its forward pass has not begun; then it shall not."""
        if self._started:
            return False
        self.wanted = False
        return True


class Batcher(Generic[Payload]):
    """One model's queue and the batches in work."""

    def __init__(
        self, run: Run[Payload], limits: BatchLimits, company_comes: Callable[[], bool] = lambda: False
    ) -> None:
        """`company_comes`: whether a batch that is not full had better wait, because more rows are being prepared and no
        core is idle meanwhile. `look` is to be called when it may have become false without a `submit`.
        """
        self._run = run
        self._company_comes = company_comes
        self._limits = limits
        self.observe: Observe = lambda rows, waited_s, run_s, items: None
        self._buckets: dict[Hashable, Bucket[Payload]] = {}
        self._rows: dict[Hashable, int] = {}
        self._waiting = 0
        self._arrivals = 0
        self._running = 0
        self._aside: Aside | None = None
        self._scheduled = False
        self._context = Context()
        """Of every batch; else it would be that of the request which came first, for the batches after it as well."""
        self._timer: asyncio.TimerHandle | None = None
        self._had_company = False
        self._seconds_per_row = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Rows that no worker has taken yet."""
        return self._waiting

    @property
    def running(self) -> int:
        """Batches in work."""
        return self._running

    def submit(
        self,
        payload: Payload,
        rows: int = 1,
        key: Hashable = None,
        priority: int = DEFAULT_PRIORITY,
    ) -> "asyncio.Future[Any]":
        """The result's future. Who no longer wants it cancels it, and then it is not computed, unless its batch runs
        already. Only items with equal keys share a batch.

        Raises:
            Overloaded: the queue is full.
        """
        if self._waiting and self._waiting + rows > self._limits.max_queue_size:
            self._forget_done()
            if self._waiting and self._waiting + rows > self._limits.max_queue_size:
                raise self.refusal()
        loop = asyncio.get_running_loop()
        item = Item(payload, rows, loop.time(), loop.create_future())
        if self._aside is not None and self._aside.gives_way():
            self._aside = None
            self._running -= 1
        self._arrivals += 1
        heappush(self._buckets.setdefault(key, []), (priority, self._arrivals, item))
        self._rows[key] = self._rows.get(key, 0) + rows
        self._waiting += rows
        self._schedule(loop)
        return item.future

    def aside(self) -> Aside:
        """A batch of one row that does not pass the queue, because nobody is there or in work. It counts as one until its end, so
        that those who come meanwhile find one worker less; but who comes before its forward pass does not wait for what is
        done before that.
        """
        self._running += 1
        self._aside = Aside(self._aside_ended)
        return self._aside

    def _aside_ended(self, turn: Aside, seconds: float) -> None:
        if self._aside is turn:
            self._aside = None
            self._running -= 1
        if seconds:
            self._done(1, 0.0, seconds, 1)
        # After its caller, who may have found that the row must be queued.
        asyncio.get_running_loop().call_soon(self.look)

    def refusal(self, before: int = 0) -> Overloaded:
        """What one more is told: to come again when those that wait now, and so many before the queue, have been served."""
        rows = max(self._waiting, before)
        seconds = rows * self._seconds_per_row / self._limits.workers
        return Overloaded(f"{rows} rows wait for the model; try again", max(1, math.ceil(seconds)))

    def look(self) -> None:
        """What was waited for may not come."""
        if self._buckets:
            self._schedule(asyncio.get_running_loop())

    def resize(self, workers: int) -> None:
        """From now on so many batches at a time."""
        self._limits = replace(self._limits, workers=workers)

    @property
    def max_batch_size(self) -> int:
        """Rows of a batch at most."""
        return self._limits.max_batch_size

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not at once: what arrived in the same turn of the loop shares the batch.
        if not self._scheduled and self._running < self._limits.workers:
            self._scheduled = True
            loop.call_soon(self._dispatch, context=self._context)

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._buckets and (free := self._limits.workers - self._running) > 0:
            now = loop.time()
            starts, _, key = min(
                ((self._starts(key, now), bucket[0][:2], key) for key, bucket in self._buckets.items()),
                key=lambda found: found[:2],
            )
            if starts > now:
                self._timer = loop.call_at(starts, self._dispatch, context=self._context)
                return
            waits = self._company_comes()
            if waits and self._rows[key] < self._limits.max_batch_size:
                return
            batch = self._take(key, 1 if waits else free)
            if batch:
                self._running += 1
                alone = self._running == 1 and not self._waiting
                task = loop.create_task(self._work(batch, alone))
                self._tasks.add(task)  # a loop holds its tasks weakly
                task.add_done_callback(self._tasks.discard)

    def _starts(self, key: Hashable, now: float) -> float:
        """When a batch of this key may start; 0 if now."""
        delay = self._limits.max_queue_delay_s
        if not delay or not self._had_company or self._rows[key] >= self._limits.max_batch_size:
            return 0.0
        starts = self._buckets[key][0][2].since + delay
        return starts if starts > now else 0.0

    def _take(self, key: Hashable, free: int) -> list[Item[Payload]]:
        """The next batch of this key: an equal share of it for each free worker, as far as one batch may hold it."""
        bucket = self._buckets[key]
        most = min(self._limits.max_batch_size, math.ceil(self._rows[key] / free))
        batch: list[Item[Payload]] = []
        rows = 0
        while bucket:
            item = bucket[0][2]
            if batch and not item.future.done() and rows + item.rows > most:
                break
            heappop(bucket)
            self._rows[key] -= item.rows
            self._waiting -= item.rows
            if not item.future.done():
                batch.append(item)
                rows += item.rows
        if not bucket:
            del self._buckets[key], self._rows[key]
        return batch

    async def _work(self, batch: list[Item[Payload]], alone: bool) -> None:
        loop = asyncio.get_running_loop()
        taken, started = loop.time(), perf_counter()
        rows = sum(item.rows for item in batch)
        together, now = Batch(rows), perf_counter_ns()
        for item in batch:
            if item.record is not None:
                item.record.enter(together, now)
        try:
            await self._compute(batch, alone)
        finally:
            seconds = perf_counter() - started
            self._running -= 1
            for item in batch:
                if not item.future.done():  # the loop is ending
                    item.future.cancel()
            self._done(rows, sum(taken - item.since for item in batch), seconds, len(batch))
            if self._buckets:
                self._schedule(loop)

    def _done(self, rows: int, waited_s: float, seconds: float, items: int) -> None:
        self._had_company = items > 1
        newest = seconds / rows
        self._seconds_per_row += (newest - self._seconds_per_row) * (_NEWEST if self._seconds_per_row else 1)
        self.observe(rows, waited_s, seconds, items)

    async def _compute(self, batch: list[Item[Payload]], alone: bool) -> None:
        try:
            outcome = await self._run([item.payload for item in batch], alone=alone)
            if len(outcome) != len(batch):
                raise ModelFault(f"{len(batch)} requests went into one batch, {len(outcome)} answers came out")
        except Exception as error:  # noqa: BLE001 - handed to whom it concerns
            if len(batch) == 1:
                _settle(batch[0], error)
                return
            _log.info("a batch failed; its requests run one by one", extra={"requests": len(batch)})
            for item in batch:
                if not item.future.done():
                    await self._compute([item], False)
            return
        for item, result in zip(batch, outcome, strict=True):
            _settle(item, result)

    def _forget_done(self) -> None:
        """Let go of what was cancelled while it waited."""
        for key in list(self._buckets):
            bucket = sorted(entry for entry in self._buckets[key] if not entry[2].future.done())
            self._waiting -= self._rows[key]
            if bucket:
                self._buckets[key], self._rows[key] = bucket, sum(entry[2].rows for entry in bucket)
                self._waiting += self._rows[key]
            else:
                del self._buckets[key], self._rows[key]


def _settle(item: Item[Any], result: Any) -> None:
    if item.future.done():
        return
    if isinstance(result, BaseException):
        item.future.set_exception(result)
    else:
        item.future.set_result(result)
