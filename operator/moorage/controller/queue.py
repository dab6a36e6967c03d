"""Which ModelDeployments must be looked at, and when. One key is worked on by one worker at a time; repeats collapse."""

import asyncio
import heapq
import random
from itertools import count

from moorage.controller.store import Key

FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 300.0
GATHER_S = 0.2
"""A rollout changes a pod, its Deployment and the InferenceService within moments of each other: one look serves all."""


class WorkQueue:
    """A set of keys that are due, a heap of keys that will be, and the memory of failures."""

    def __init__(self) -> None:
        self._due: dict[Key, None] = {}
        self._busy: set[Key] = set()
        self._later: list[tuple[float, int, Key, bool]] = []
        self._soon: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._retries: dict[Key, int] = {}
        """The one retry of each failing key that counts; a later failure puts a later one in its place."""
        self._order = count()
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """The key is due now. While a worker has it, it becomes due again when that worker is done."""
        self._due[key] = None
        self._wake.set()

    def add_soon(self, key: Key) -> None:
        """The key is due in a moment, once, however often it is added meanwhile."""
        if key not in self._soon:
            self._soon.add(key)
            self.add_after(key, GATHER_S)

    def add_after(self, key: Key, delay_s: float) -> None:
        """The key is due after a while, whatever else happens to it."""
        self._plan(key, delay_s, is_retry=False)

    def retry(self, key: Key, at_least_s: float = 0.0) -> float:
        """The key failed: due again after a jittered, doubling wait. Returns the wait in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        doubled_s = FIRST_RETRY_S * 2.0 ** min(failures - 1, 16)
        delay_s = min(LONGEST_RETRY_S, doubled_s * 1.25) * random.uniform(0.6, 1.0)  # noqa: S311 - jitter
        delay_s = max(delay_s, at_least_s)
        self._retries[key] = self._plan(key, delay_s, is_retry=True)
        return delay_s

    def succeed(self, key: Key) -> None:
        """The key is well: its next failure waits briefly again."""
        self._failures.pop(key, None)
        self._retries.pop(key, None)

    async def take(self) -> Key:
        """The next key that is due and that no other worker has. Give it back with `done`."""
        while True:
            self._wake.clear()
            timeout_s = self._promote()
            for key in self._due:
                if key not in self._busy:
                    del self._due[key]
                    self._busy.add(key)
                    return key
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, key: Key) -> None:
        """The worker is finished with the key."""
        self._busy.discard(key)
        self._wake.set()

    def __len__(self) -> int:
        return len(self._due) + len(self._busy)

    def _plan(self, key: Key, delay_s: float, *, is_retry: bool) -> int:
        order = next(self._order)
        heapq.heappush(self._later, (asyncio.get_running_loop().time() + delay_s, order, key, is_retry))
        self._wake.set()
        return order

    def _promote(self) -> float | None:
        """Move what has become due; returns the seconds until the next one will."""
        now = asyncio.get_running_loop().time()
        while self._later and self._later[0][0] <= now:
            _, order, key, is_retry = heapq.heappop(self._later)
            if is_retry and self._retries.get(key) != order:
                continue  # a later failure or a success has taken its place
            if is_retry:
                del self._retries[key]
            self._due[key] = None
            self._soon.discard(key)
        return self._later[0][0] - now if self._later else None
