"""Which ModelDeployments must be looked at, and when. One key is worked on by one worker at a time; repeats collapse."""

import asyncio
import heapq
import random
import time
from collections.abc import Callable
from itertools import count

from moorage.controller.store import Key

FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 300.0
GATHER_S = 0.2
"""A rollout changes a pod, its Deployment and the InferenceService within moments of each other: one look serves all."""


class WorkQueue:
    """A set of keys that are due, a heap of keys that will be, and the memory of failures.

    Args:
        waited: told for how many seconds each key was due before a worker took it.
    """

    def __init__(self, waited: Callable[[float], None] = lambda seconds: None) -> None:
        self._waited = waited
        self._due: dict[Key, float] = {}
        """Since when, the oldest first."""
        self._busy: set[Key] = set()
        self._later: list[tuple[float, int, Key, dict[Key, int] | None]] = []
        self._soon: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._retries: dict[Key, int] = {}
        """The one retry of each failing key that counts; a later failure puts a later one in its place."""
        self._looks: dict[Key, int] = {}
        """The one look again of each key that counts, likewise."""
        self._barred: dict[Key, float] = {}
        """Until when the API server wants to hear nothing of a key, whatever happens to it."""
        self._order = count()
        self._wake = asyncio.Event()

    def add(self, key: Key) -> None:
        """The key is due now. While a worker has it, it becomes due again when that worker is done."""
        now = time.monotonic()
        barred_s = self._barred.get(key, now) - now
        if barred_s <= 0:
            self._due.setdefault(key, now)
            self._wake.set()
        elif key not in self._soon:
            self._soon.add(key)
            self._plan(key, barred_s)

    def add_soon(self, key: Key) -> None:
        """The key is due in a moment, once, however often it is added meanwhile."""
        if key not in self._soon:
            self._soon.add(key)
            self._plan(key, GATHER_S)

    def look_again(self, key: Key, delay_s: float | None) -> None:
        """The key is due after a while though no event comes, or (None) is not. Takes the place of what was said before."""
        self._looks.pop(key, None)
        if delay_s is not None:
            self._looks[key] = self._plan(key, delay_s, self._looks)

    def retry(self, key: Key, at_least_s: float = 0.0) -> float:
        """The key failed: due again after a jittered, doubling wait. Returns the wait in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        doubled_s = FIRST_RETRY_S * 2.0 ** min(failures - 1, 16)
        delay_s = min(LONGEST_RETRY_S, doubled_s * 1.25) * random.uniform(0.6, 1.0)  # noqa: S311 - jitter
        delay_s = max(delay_s, at_least_s)
        if at_least_s:
            self._barred[key] = time.monotonic() + at_least_s
            if self._due.pop(key, None) is not None:
                self.add(key)
        self._retries[key] = self._plan(key, delay_s, self._retries)
        return delay_s

    def succeed(self, key: Key) -> None:
        """The key is well: its next failure waits briefly again."""
        self._failures.pop(key, None)
        self._retries.pop(key, None)
        if self._barred.pop(key, None) is not None:
            self._soon.discard(key)  # what was put off for the server's sake need not hold up what comes now

    async def take(self) -> Key:
        """The next key that is due and that no other worker has. Give it back with `done`."""
        while True:
            self._wake.clear()
            timeout_s = self._promote()
            for key, since in self._due.items():
                if key not in self._busy:
                    del self._due[key]
                    self._busy.add(key)
                    self._waited(time.monotonic() - since)
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

    def oldest_s(self) -> float:
        """For how long the key that waits longest has been due."""
        since = next(iter(self._due.values()), None)
        return 0.0 if since is None else time.monotonic() - since

    def __len__(self) -> int:
        return len(self._due) + len(self._busy)

    def _plan(self, key: Key, delay_s: float, counts: dict[Key, int] | None = None) -> int:
        """Put it on the heap; if `counts` is given, it counts only while that has it for the key."""
        order = next(self._order)
        heapq.heappush(self._later, (asyncio.get_running_loop().time() + delay_s, order, key, counts))
        self._wake.set()
        return order

    def _promote(self) -> float | None:
        """Move what has become due; returns the seconds until the next one will."""
        now = asyncio.get_running_loop().time()
        while self._later and self._later[0][0] <= now:
            _, order, key, counts = heapq.heappop(self._later)
            if counts is not None:
                if counts.get(key) != order:
                    continue  # something later has taken its place, or a success
                del counts[key]
            if counts is self._retries:
                self._barred.pop(key, None)
            self._soon.discard(key)
            self.add(key)
        return self._later[0][0] - now if self._later else None
