"""Items of many requests through one class with hooks. Called by `wire/hooked.py`, on the event loop.

    item -> decode, in a thread -> queue -> batch and predict, one call at a time -> encode, in a thread -> its own request

A request's rows wait as pieces of at most a batch, so a row that fails takes no other request with it: a batch that fails
is run again piece by piece (see `batching/queue.py`).
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from typing import Any, Final, TypeVar

from moorage_predictor.batching import Batcher, BatchLimits, all_of
from moorage_predictor.tasks.custom.hooks import Hooks

T = TypeVar("T")
InLane = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs one call after the other off the event loop: a class need not be thread-safe in `predict`."""

MAX_BATCH_SIZE: Final = 8
"""Rows of a batch, if nobody says how many."""


class Stages:
    """Of one object of the user's."""

    def __init__(self, hooks: Hooks, model_name: str, limits: BatchLimits, cores: int, in_lane: InLane) -> None:
        self._hooks = hooks
        self._in_lane = in_lane
        self._inside = 0
        self._most = limits.max_queue_size + limits.max_batch_size
        self._threads = ThreadPoolExecutor(cores, f"hooks-{model_name}")
        # What may wait is counted here and not by the queue: what will be refused need not be decoded.
        self.batcher: Batcher[list[Any]] = Batcher(self._run, replace(limits, max_queue_size=sys.maxsize))

    async def answer(self, items: Sequence[Any], label: str, priority: int) -> list[Any]:
        """One answer for each item. `label` is how the caller calls the list of them.

        Raises:
            InvalidInput: `decode` refused an item; none is computed then.
            HookFailed: a hook raised.
            Overloaded: the queue is full.
        """
        self._enter(len(items))
        try:
            rows = await self._rows(items, label)
            pieces = [self.batcher.submit(piece, len(piece), key, priority) for key, piece in self._pieces(rows)]
            results = [result for piece in await all_of(pieces) for result in piece]
            if not self._hooks.encodes:
                return results
            return await self._in_thread(lambda: [self._hooks.encode(result) for result in results])
        finally:
            self._inside -= len(items)

    def _enter(self, rows: int) -> None:
        """A request alone is never too large."""
        if self._inside and self._inside + rows > self._most:
            raise self.batcher.refusal()
        self._inside += rows

    def _in_thread(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _rows(self, items: Sequence[Any], label: str) -> list[Any]:
        if not self._hooks.decodes and not isinstance(items[0], (list, dict)):
            return self._decoded(items, label)  # as they are, which is sooner done than told to a thread
        return await self._in_thread(lambda: self._decoded(items, label))

    def _decoded(self, items: Sequence[Any], label: str) -> list[Any]:
        return [self._hooks.decode(item, f"{label}[{index}]") for index, item in enumerate(items)]

    def _pieces(self, rows: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
        """Neighbours of one form, at most a batch of them."""
        size = self.batcher.max_batch_size
        for key, group in groupby(rows, self._hooks.form):
            alike = list(group)
            for start in range(0, len(alike), size):
                yield key, alike[start : start + size]

    async def _run(self, payloads: Sequence[list[Any]], *, alone: bool) -> Sequence[list[Any]]:
        rows = [row for piece in payloads for row in piece]
        results = await self._in_lane(lambda: self._hooks.predict(rows))
        found = iter(results)
        return [[next(found) for _ in piece] for piece in payloads]

    def close(self) -> None:
        """After the last item."""
        self._threads.shutdown(wait=False)
        self._hooks.close()
