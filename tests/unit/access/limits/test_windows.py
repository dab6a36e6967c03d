"""Moving windows in memory. The library `limits` judges them: the same calls at the same times, the same answers."""

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from moorage.access.limits import windows
from moorage.access.limits.windows import EXACT, MemoryStore, Rate

SECOND = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now_us = 10**15

    def __call__(self) -> int:
        return self.now_us * 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def take(clock: Clock) -> Callable[..., bool]:
    store = MemoryStore(clock)
    return lambda rate, key="k": store.take((key,), (rate,)).allowed


def test_a_window_holds_as_many_calls_as_the_limit_and_each_leaves_after_one_length(
    clock: Clock, take: Callable[..., bool]
) -> None:
    rate = Rate.of(3, 1)
    answers = []
    for moment in (0.0, 0.4, 0.6, 0.9, 0.999999, 1.0, 1.1, 1.4, 1.5):
        clock.now_us = 10**15 + round(moment * SECOND)
        answers.append(take(rate))
    assert answers == [True, True, True, False, False, True, False, True, False]


@settings(deadline=None, max_examples=60)
@given(
    limit=st.integers(1, 5),
    pauses=st.lists(st.integers(0, 6), min_size=1, max_size=60),
)
def test_the_answers_are_those_of_the_library_s_moving_window(limit: int, pauses: list[int]) -> None:
    """In tenths of a second, and never on the edge of a window, where the library counts one instant more."""
    clock, moment = Clock(), 0.0
    store, rate = MemoryStore(clock), Rate.of(limit, 1)
    storage = MemoryStorage()
    storage.timer.join()
    library, item = MovingWindowRateLimiter(storage), RateLimitItemPerSecond(limit)
    import limits.storage.memory as memory

    class Time:
        @staticmethod
        def time() -> float:
            return moment

    real, memory.time = memory.time, Time  # type: ignore[assignment]
    storage._MemoryStorage__schedule_expiry = lambda: None  # type: ignore[attr-defined]  # its thread has another clock
    try:
        for count, pause in enumerate(pauses):
            moment += pause / 10 + 0.001 * (count % 7 + 1)
            clock.now_us = round(moment * SECOND)
            assert store.take(("k",), (rate,)).allowed == library.hit(item, "k")
    finally:
        memory.time = real


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 400)), min_size=1, max_size=40))
def test_no_stretch_of_one_length_lets_more_through_than_a_large_limit(bursts: list[tuple[int, int]]) -> None:
    clock, rate = Clock(), Rate.of(EXACT + 500, 1)
    store, passed = MemoryStore(clock), []
    for pause_100us, calls in bursts:
        clock.now_us += pause_100us * 100
        passed += [clock.now_us for _ in range(calls) if store.take(("k",), (rate,)).allowed]
    for start in set(passed):
        assert sum(start <= moment < start + SECOND for moment in passed) <= rate.limit


def test_a_large_limit_is_given_back_within_a_thousandth_of_its_length(clock: Clock, take: Callable[..., bool]) -> None:
    rate = Rate.of(EXACT + 1, 1)
    assert all(take(rate) for _ in range(rate.limit))
    assert not take(rate)
    clock.now_us += SECOND + SECOND // EXACT
    assert all(take(rate) for _ in range(rate.limit))


def test_what_is_kept_of_a_large_limit_does_not_grow_with_it(clock: Clock) -> None:
    store, rate = MemoryStore(clock), Rate.of(10**9, 60)
    for _ in range(20_000):
        clock.now_us += 10_000
        store.take(("k",), (rate,))
    assert len(store._windows["k"]._leave) <= EXACT + 1


def test_a_call_is_counted_by_all_of_its_limits_or_by_none(clock: Clock) -> None:
    store = MemoryStore(clock)
    both = (Rate.of(5, 1), Rate.of(2, 60))
    assert [store.take(("a", "b"), both).allowed for _ in range(4)] == [True, True, False, False]
    verdict = store.take(("a", "b"), both)
    assert [used for used, _ in verdict.windows] == [2, 2]


def test_windows_that_nobody_uses_any_more_go_as_new_ones_come(clock: Clock) -> None:
    store, rate = MemoryStore(clock), Rate.of(1, 1)
    for caller in range(20_000):
        clock.now_us += 1000
        store.take((f"{caller}",), (rate,))
    assert len(store) <= 2100  # those of the last second, and as many that are not looked at yet


def test_there_is_an_end_of_windows_even_if_all_are_in_use(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_WINDOWS", 100)
    store, rate = MemoryStore(clock), Rate.of(1, 60)
    for caller in range(1000):
        assert store.take((f"{caller}",), (rate,)).allowed
    assert len(store) <= 101


def test_two_new_windows_of_one_call_are_both_kept(clock: Clock) -> None:
    store, rates = MemoryStore(clock), (Rate.of(1, 60), Rate.of(1, 60))
    assert store.take(("a", "b"), rates).allowed
    assert not store.take(("a", "b"), rates).allowed
    assert len(store) == 2


def test_a_caller_of_one_call_takes_less_than_a_kilobyte(clock: Clock) -> None:
    store, rate, callers = MemoryStore(clock), Rate.of(5, 60), 1000
    tracemalloc.start()
    for caller in range(callers):
        store.take((f"{caller}",), (rate,))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / callers < 1000
