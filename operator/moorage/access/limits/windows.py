"""Moving windows in this process' memory: never more than so many calls in any stretch of one window's length. `Limiter` asks
`MemoryStore`; `redis_windows.py` does the same in Redis, for all replicas.

What is kept of one window are its calls, in their order, as the moment at which each leaves it and how many leave then:

    now ──┐      each call leaves one length after it came
    [ 61.2 x1 | 61.9 x1 | 75.0 x3 ]   used = 5

Up to `EXACT` calls each has its own moment. Of larger limits those that come within a thousandth of the length leave together,
with the last of them: memory and time are bounded for limits of any size, and the limit still holds in every window.
"""

import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

EXACT: Final = 1000
MAX_WINDOWS: Final = 100_000
"""Of all callers and rules together; beyond it those that were made first are forgotten."""
_LOOKED_AT: Final = 2
"""Old windows that each new one has looked at: more go than come, so that those of callers who have gone do not pile up."""


_tuple: Final[Any] = tuple.__new__


class Rate(NamedTuple):
    """One limit, in the stores' units."""

    limit: int
    length_us: int
    step_us: int
    """Calls within one step leave together."""

    @classmethod
    def of(cls, limit: int, length_s: float) -> "Rate":
        """So many calls in so many seconds."""
        length = round(length_s * 1_000_000)
        return cls(limit, length, 1 if limit <= EXACT else length // EXACT)


class Verdict(NamedTuple):
    """What a store says of one call: it was counted by all of its limits, or by none."""

    allowed: bool
    now_us: int
    """The store's clock, which says nothing outside of the verdict."""
    windows: tuple[tuple[int, int], ...]
    """For each limit the calls in the window, this one among them if it was counted, and when the oldest one leaves it."""


class Window:
    """The calls of one caller by one rule. Times are whole microseconds of any one clock that never goes back."""

    __slots__ = ("_calls", "_leave", "used")

    def __init__(self) -> None:
        # Lists, because a deque has room for 64 from the first, and most callers have one or two. None gets long.
        self._leave: list[int] = []
        self._calls: list[int] = []
        self.used = 0

    def forget(self, now: int) -> int:
        """Let go of the calls that have left; returns how many are in it."""
        leave = self._leave
        if leave and leave[0] <= now:
            gone = next((place for place, moment in enumerate(leave) if moment > now), len(leave))
            self.used -= sum(self._calls[:gone])
            del leave[:gone], self._calls[:gone]
        return self.used

    def add(self, now: int, length: int, step: int) -> None:
        """One call more. Whose step is another than that of the call before may leave up to one step later than it could."""
        at = now + length
        if step > 1:
            at = -(-at // step) * step
        if self._leave and self._leave[-1] == at:
            self._calls[-1] += 1
        else:
            self._leave.append(at)
            self._calls.append(1)
        self.used += 1

    def take(self, now: int, rate: Rate) -> Verdict:
        """One call more, if there is room for it: `forget`, `add` and `next` in one."""
        leave = self._leave
        if leave and leave[0] <= now:
            self.forget(now)
        limit, length, step = rate
        if allowed := self.used < limit:
            at = now + length
            if step > 1:
                at = -(-at // step) * step
            if leave and leave[-1] == at:
                self._calls[-1] += 1
            else:
                leave.append(at)
                self._calls.append(1)
            self.used += 1
        # What `Verdict(...)` does, less a call of a function in Python.
        verdict: Verdict = _tuple(Verdict, (allowed, now, ((self.used, leave[0] if leave else now),)))
        return verdict

    def next(self, now: int) -> int:
        """When the oldest call leaves."""
        return self._leave[0] if self._leave else now


class MemoryStore:
    """The windows of one process. Not for several threads: the event loop alone asks."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._windows: dict[str, Window] = {}
        self._made = 0

    def take(self, keys: Sequence[str], rates: Sequence[Rate]) -> Verdict:
        """Count a call in the window of each key, if all have room by the rate in the same place; else in none."""
        now = self._clock_ns() // 1000
        if len(keys) == 1:  # the most usual, in half the time
            window = self._windows.get(keys[0]) or self._new(keys[0])
            verdict = window.take(now, rates[0])
        else:
            windows = [self._windows.get(key) or self._new(key) for key in keys]
            room = [window.forget(now) < rate.limit for window, rate in zip(windows, rates, strict=True)]
            allowed = False not in room  # each is asked: those after a full one have calls to let go of, too
            if allowed:
                for window, (_, length, step) in zip(windows, rates, strict=True):
                    window.add(now, length, step)
            verdict = Verdict(allowed, now, tuple([(window.used, window.next(now)) for window in windows]))
        if self._made:
            self._tidy(now)
        return verdict

    def __len__(self) -> int:
        return len(self._windows)

    def _new(self, key: str) -> Window:
        window = self._windows[key] = Window()
        self._made += 1
        return window

    def _tidy(self, now: int) -> None:
        windows = self._windows
        for key in list(islice(windows, _LOOKED_AT * self._made)):
            window = windows.pop(key)
            if window.forget(now) and len(windows) < MAX_WINDOWS:
                windows[key] = window  # in use: looked at again when all others have been
        self._made = 0
