"""Moving windows in a real Redis: exact for all who share it, by its clock alone, and no key lives for ever."""

import asyncio
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from tests.redis_server import RedisServer

from moorage.access.limits import redis_windows
from moorage.access.limits.redis_windows import PREFIX, RedisWindows
from moorage.access.limits.windows import EXACT, MemoryStore, Rate

pytestmark = pytest.mark.timeout(60)


def windows(server: RedisServer, scope: str = "cats") -> RedisWindows:
    return RedisWindows(server.url, scope, timeout_s=5)


async def test_no_more_than_the_limit_is_let_through_and_the_verdict_says_what_is_left(
    redis_server: RedisServer,
) -> None:
    store, rate = windows(redis_server), Rate.of(3, 60)
    verdicts = [await store.take(("k",), (rate,)) for _ in range(5)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False, False]
    assert [verdict.windows[0][0] for verdict in verdicts] == [1, 2, 3, 3, 3]
    assert all(leaves == verdicts[0].now_us + 60_000_000 for verdict in verdicts for _, leaves in verdict.windows)
    await store.disconnect()


def test_three_replicas_with_a_hundred_callers_let_exactly_the_limit_through_in_every_window(
    redis_server: RedisServer,
) -> None:
    """Each replica in a thread with an event loop of its own; the moments are Redis' own."""
    limit, length_s, replicas, callers, rounds_s = 50, 0.5, 3, 100, 2.2
    passed: list[int] = []
    together = threading.Barrier(replicas)

    async def call(store: RedisWindows, until: float) -> None:
        while time.monotonic() < until:
            verdict = await store.take(("k",), (Rate.of(limit, length_s),))
            if verdict.allowed:
                passed.append(verdict.now_us)

    async def replica() -> None:
        store = windows(redis_server)
        until = time.monotonic() + rounds_s
        await asyncio.gather(*[call(store, until) for _ in range(callers // replicas + 1)])
        await store.disconnect()

    def run() -> None:
        together.wait()
        asyncio.run(replica())

    threads = [threading.Thread(target=run) for _ in range(replicas)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed.sort()
    length_us = round(length_s * 1_000_000)
    most = [sum(start <= moment < start + length_us for moment in passed) for start in passed]
    assert max(most) == limit
    full_windows = (passed[-1] - passed[0]) // length_us
    assert full_windows >= 3
    assert len(passed) >= full_windows * limit  # nor is anything kept from callers


async def test_several_limits_are_asked_in_one_step_and_a_refused_call_is_counted_by_none(
    redis_server: RedisServer,
) -> None:
    store, both = windows(redis_server), (Rate.of(5, 60), Rate.of(2, 60))
    verdicts = [await store.take(("a", "b"), both) for _ in range(4)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, False, False]
    assert [used for used, _ in verdicts[-1].windows] == [2, 2]
    await store.disconnect()


async def test_every_key_ends_even_if_whoever_wrote_it_never_comes_back(redis_server: RedisServer) -> None:
    store = windows(redis_server)
    for rate in (Rate.of(2, 1), Rate.of(EXACT * 10, 1), Rate.of(5, 86_400)):
        for _ in range(3):
            await store.take((f"{rate.limit}/{rate.length_us}",), (rate,))
    keys = redis_server.client.keys("*")
    assert len(keys) == 3
    for key in keys:
        assert key.startswith(f"{PREFIX}:cats:".encode())
        length_ms = int(key.rpartition(b"/")[2]) // 1000
        assert 0 < redis_server.client.pttl(key) <= length_ms + length_ms // EXACT + 2
    await store.disconnect()


async def test_what_has_another_scope_counts_apart(redis_server: RedisServer) -> None:
    cats, dogs, rate = windows(redis_server), windows(redis_server, "dogs"), Rate.of(1, 60)
    assert (await cats.take(("k",), (rate,))).allowed
    assert (await dogs.take(("k",), (rate,))).allowed
    assert not (await cats.take(("k",), (rate,))).allowed
    await cats.disconnect()
    await dogs.disconnect()


async def test_clocks_of_replicas_do_not_matter_where_they_do_to_the_library_s_own_window(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the window of `limits` is not used: a replica whose clock is ahead by one window empties it for all."""
    library = MovingWindowRateLimiter(RedisStorage(redis_server.url.replace("unix://", "redis+unix://")))
    store, real = windows(redis_server), time.time
    by_library = by_us = 0
    for ahead_s in (0, 61, 0, 61):
        monkeypatch.setattr(time, "time", lambda ahead_s=ahead_s: real() + ahead_s)
        for _ in range(5):
            by_library += library.hit(RateLimitItemPerMinute(5), "k")
            by_us += (await store.take(("k",), (Rate.of(5, 60),))).allowed
    monkeypatch.undo()
    assert by_us == 5
    assert by_library > 5
    await store.disconnect()


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limits=st.lists(st.sampled_from([1, 2, 5, EXACT + 3]), min_size=1, max_size=2),
    pauses_us=st.lists(st.integers(0, 400_000), min_size=1, max_size=40),
)
def test_the_script_answers_as_the_windows_in_memory_do(
    redis_server: RedisServer, limits: list[int], pauses_us: list[int]
) -> None:
    moment = 1_700_000_000_000_000
    memory = MemoryStore(lambda: moment * 1000)
    rates = [Rate.of(limit, 1) for limit in limits]
    keys = [f"{place}" for place in range(len(limits))]
    script = redis_windows.TAKE.replace("redis.call('TIME')", "{redis.call('GET', 's'), redis.call('GET', 'us')}")
    redis_server.client.flushall()
    take = redis_server.client.register_script(script)
    for pause in pauses_us:
        moment += pause
        redis_server.client.mset({"s": moment // 1_000_000, "us": moment % 1_000_000})
        arguments = [len(keys), *[number for rate in rates for number in rate]]
        now, *rest = take([*keys, *keys], [2, *arguments, *arguments])  # two calls at once
        size = 1 + 2 * len(keys)
        for allowed, *pairs in (rest[:size], rest[size:]):
            expected = memory.take(keys, rates)
            assert (bool(allowed), now) == (expected.allowed, moment)
            assert tuple(zip(pairs[::2], pairs[1::2], strict=True)) == expected.windows
        for key in keys:
            redis_server.client.persist(key)  # the server's own clock stands still for us
