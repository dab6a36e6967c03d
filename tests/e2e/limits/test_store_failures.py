"""Redis away, frozen, read-only, full, emptied, restarted: the documented mode, no error, and back without a restart."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.redis_server import RedisServer

from moorage.access.limits.failure import DEADLINE_S, Guarded
from moorage.access.limits.limiter import Answer, Unavailable
from moorage.access.limits.redis_windows import RedisWindows
from moorage.access.limits.windows import Rate
from moorage.api.rate_limits import OnStoreFailure

pytestmark = pytest.mark.timeout(60)

RATE = Rate.of(6, 60)
REPLICAS = 3
_PATIENCE_S = 10.0

Guard = Callable[..., Guarded]


async def take(store: Guarded, rate: Rate = RATE) -> Answer:
    answer = store.take(("k",), (rate,))
    return await answer if isinstance(answer, Awaitable) else answer


async def until_back(store: Guarded) -> None:
    until = time.monotonic() + _PATIENCE_S
    while store.away and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert not store.away


@pytest.fixture
async def guard(redis_server: RedisServer) -> AsyncIterator[Guard]:
    made: list[Guarded] = []

    def make(on_failure: OnStoreFailure = "local") -> Guarded:
        store = RedisWindows(redis_server.url, "cats", timeout_s=DEADLINE_S)
        # Longer than in a pod: here Redis shares two cores with all the other tests.
        guarded = Guarded(store, on_failure, REPLICAS, deadline_s=1.0, retry_s=0.05)
        made.append(guarded)
        return guarded

    yield make
    for guarded in made:
        await guarded.close()


def full(server: RedisServer) -> None:
    server.client.config_set("maxmemory-policy", "noeviction")
    server.client.config_set("maxmemory", "1")


def not_full(server: RedisServer) -> None:
    server.client.config_set("maxmemory", "0")


def read_only(server: RedisServer) -> None:
    server.client.replicaof("127.0.0.1", "1")
    server.client.config_set("replica-serve-stale-data", "yes")


def writable(server: RedisServer) -> None:
    server.client.replicaof("NO", "ONE")


TROUBLES = pytest.mark.parametrize(
    ("trouble", "recovery"),
    [
        (RedisServer.kill, RedisServer.start),
        (RedisServer.freeze, RedisServer.thaw),
        (read_only, writable),
        (full, not_full),
    ],
    ids=["killed", "frozen", "read-only", "full"],
)


@TROUBLES
async def test_a_store_that_fails_gives_way_to_this_process_share_and_comes_back_by_itself(
    redis_server: RedisServer,
    guard: Guard,
    trouble: Callable[[RedisServer], None],
    recovery: Callable[[RedisServer], None],
) -> None:
    store = guard()
    assert (await take(store)).allowed
    trouble(redis_server)
    answers = [(await take(store)).allowed for _ in range(4)]
    assert answers == [True, True, False, False]  # 6 calls a minute, of which each of 3 replicas has 2
    assert store.away
    recovery(redis_server)
    await until_back(store)
    answer = await take(store, Rate.of(100, 60))
    assert not isinstance(answer, Unavailable)
    assert answer.allowed
    assert redis_server.client.exists("moorage:limit:cats:k")


@TROUBLES
async def test_open_lets_everything_through_and_closed_nothing(
    redis_server: RedisServer,
    guard: Guard,
    trouble: Callable[[RedisServer], None],
    recovery: Callable[[RedisServer], None],
) -> None:
    trouble(redis_server)
    is_open, is_closed = guard("open"), guard("closed")
    assert [(await take(is_open)).allowed for _ in range(10)] == [True] * 10
    refused = [await take(is_closed) for _ in range(10)]
    assert all(isinstance(answer, Unavailable) and not answer.allowed for answer in refused)
    assert all(answer.retry_after_s >= 1 for answer in refused if isinstance(answer, Unavailable))
    recovery(redis_server)


@pytest.mark.parametrize(("choice", "passes"), [("local", True), ("open", True), ("closed", False)])
async def test_what_is_to_come_once_passes_without_a_store_unless_the_choice_is_closed(
    redis_server: RedisServer, guard: Guard, choice: OnStoreFailure, passes: bool
) -> None:
    stores = [guard(choice) for _ in range(2)]
    assert [await store.once("proof/a", 65) for store in stores] == [True, False]
    assert 60_000 < redis_server.client.pttl("moorage:limit:cats:proof/a") <= 65_001
    redis_server.kill()
    assert [await stores[0].once(key, 65) for key in ("proof/b", "proof/c")] == [passes] * 2
    assert stores[0].away


async def test_only_the_calls_that_find_it_out_wait_and_none_longer_than_the_deadline(
    redis_server: RedisServer, guard: Guard
) -> None:
    """Of a frozen server: the first call waits out the deadline, and all later ones are answered without a pause."""
    store = guard()
    await take(store)
    redis_server.freeze()
    pending = store.take(("k",), (RATE,))
    assert isinstance(pending, Awaitable)
    await pending
    for _ in range(50):
        assert not isinstance(store.take(("k",), (RATE,)), Awaitable)  # nothing to wait for
    redis_server.thaw()


def test_the_deadline_is_fifty_milliseconds() -> None:
    assert DEADLINE_S == 0.05


async def test_an_emptied_redis_counts_from_the_beginning(redis_server: RedisServer, guard: Guard) -> None:
    store = guard()
    assert [(await take(store)).allowed for _ in range(7)] == [True] * 6 + [False]
    redis_server.client.flushall()
    assert [(await take(store)).allowed for _ in range(7)] == [True] * 6 + [False]
    assert not store.away


async def test_a_redis_that_was_started_anew_between_two_calls_is_not_noticed(
    redis_server: RedisServer, guard: Guard
) -> None:
    """The connection is dead and the script is gone: both are made anew within the call."""
    store = guard()
    assert (await take(store)).allowed
    redis_server.kill()
    redis_server.start()
    assert (await take(store)).allowed
    assert not store.away


async def test_a_key_of_somebody_else_s_making_is_a_failure_of_the_store_and_no_error(
    redis_server: RedisServer, guard: Guard
) -> None:
    redis_server.client.set("moorage:limit:cats:k", "not a list")
    store = guard("open")
    assert (await take(store)).allowed
    assert store.away


async def test_after_a_failover_the_name_is_looked_up_anew_although_the_old_server_still_answers(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    second = RedisServer(folder)
    second.start()
    name = tmp_path / "name"
    name.symlink_to(tmp_path / "redis.sock")
    store = Guarded(RedisWindows(f"unix://{name}", "cats", timeout_s=1), "closed", deadline_s=1.0, retry_s=0.05)
    try:
        assert (await take(store)).allowed
        read_only(redis_server)
        name.unlink()
        name.symlink_to(folder / "redis.sock")
        assert not (await take(store)).allowed
        await until_back(store)
        assert (await take(store)).allowed
        assert second.client.exists("moorage:limit:cats:k")
    finally:
        await store.close()
        second.kill()
