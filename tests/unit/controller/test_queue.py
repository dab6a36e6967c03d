import asyncio
import time

import pytest

from moorage.controller.queue import LONGEST_RETRY_S, WorkQueue
from moorage.controller.store import Key

CAT, DOG = Key("demo", "cat"), Key("demo", "dog")


async def nothing_to_take(queue: WorkQueue) -> bool:
    try:
        async with asyncio.timeout(0.05):
            await queue.take()
    except TimeoutError:
        return True
    return False


async def test_repeats_collapse_into_one() -> None:
    queue = WorkQueue()
    for key in (CAT, DOG, CAT, CAT):
        queue.add(key)
    assert [await queue.take(), await queue.take()] == [CAT, DOG]
    assert await nothing_to_take(queue)


async def test_a_key_is_with_one_worker_at_a_time_and_due_again_afterwards() -> None:
    queue = WorkQueue()
    queue.add(CAT)
    assert await queue.take() == CAT
    queue.add(CAT)
    assert await nothing_to_take(queue)
    queue.done(CAT)
    assert await queue.take() == CAT


async def test_a_busy_key_does_not_hold_up_another() -> None:
    queue = WorkQueue()
    queue.add(CAT)
    await queue.take()
    queue.add(CAT)
    queue.add(DOG)
    assert await queue.take() == DOG


async def test_a_worker_that_waits_is_woken() -> None:
    queue = WorkQueue()
    waiting = [asyncio.create_task(queue.take()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add(CAT)
    queue.add(DOG)
    done, pending = await asyncio.wait(waiting, timeout=0.5, return_when=asyncio.ALL_COMPLETED)
    assert {task.result() for task in done} == {CAT, DOG}
    (last,) = pending
    queue.add(CAT)
    queue.done(CAT)
    async with asyncio.timeout(0.5):
        assert await last == CAT


async def test_a_worker_that_is_cancelled_takes_no_key_along() -> None:
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    queue.add(CAT)
    async with asyncio.timeout(0.5):
        assert await queue.take() == CAT


async def test_a_key_for_later_comes_later_and_in_order() -> None:
    queue = WorkQueue()
    queue.look_again(DOG, 0.06)
    queue.look_again(CAT, 0.02)
    started = asyncio.get_running_loop().time()
    assert [await queue.take(), await queue.take()] == [CAT, DOG]
    assert asyncio.get_running_loop().time() - started >= 0.05


async def test_waits_double_with_jitter_and_are_capped() -> None:
    queue = WorkQueue()
    waits = [queue.retry(CAT) for _ in range(20)]
    for failures, wait_s in enumerate(waits[:9]):
        assert 0.75 * 0.5 * 2**failures <= wait_s <= 1.25 * 0.5 * 2**failures
    assert all(0.6 * LONGEST_RETRY_S <= wait_s <= LONGEST_RETRY_S for wait_s in waits[12:])


async def test_a_success_resets_the_wait_of_that_key_alone() -> None:
    queue = WorkQueue()
    for _ in range(6):
        queue.retry(CAT)
        queue.retry(DOG)
    queue.succeed(CAT)
    assert queue.retry(CAT) <= 0.5 * 1.25
    assert queue.retry(DOG) > 10


async def test_the_servers_own_wish_is_a_lower_bound() -> None:
    assert WorkQueue().retry(CAT, at_least_s=7.0) == 7.0


async def test_what_is_due_and_what_is_worked_on_is_counted() -> None:
    queue = WorkQueue()
    queue.add(CAT)
    queue.add(DOG)
    await queue.take()
    assert len(queue) == 2


@pytest.mark.parametrize("workers", [1, 8])
async def test_every_key_is_worked_on_and_none_by_two_at_once(workers: int) -> None:
    queue, busy, seen = WorkQueue(), set[Key](), list[Key]()

    async def work() -> None:
        while True:
            key = await queue.take()
            assert key not in busy
            busy.add(key)
            await asyncio.sleep(0)
            busy.remove(key)
            seen.append(key)
            queue.done(key)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    keys = [Key("demo", f"m{number}") for number in range(50)]
    for _ in range(3):
        for key in keys:
            queue.add(key)
        await asyncio.sleep(0)
    async with asyncio.timeout(1):
        while len(queue):
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert set(seen) == set(keys)


async def test_what_happens_in_a_moment_is_looked_at_once() -> None:
    queue = WorkQueue()
    for _ in range(100):
        queue.add_soon(CAT)
    assert await nothing_to_take(queue)
    assert await queue.take() == CAT
    queue.done(CAT)
    assert await nothing_to_take(queue)
    queue.add_soon(CAT)
    assert await queue.take() == CAT


async def test_a_key_that_fails_again_and_again_has_one_retry_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.controller.queue.LONGEST_RETRY_S", 0.05)
    queue = WorkQueue()
    for _ in range(50):
        queue.retry(CAT)
    assert await queue.take() == CAT
    queue.done(CAT)
    assert await nothing_to_take(queue)


async def test_a_success_takes_the_planned_retry_back() -> None:
    queue = WorkQueue()
    queue.retry(CAT, at_least_s=0.01)
    queue.succeed(CAT)
    await asyncio.sleep(0.7)
    assert await nothing_to_take(queue)


async def test_a_success_lets_what_comes_next_come_at_once_though_the_server_had_asked_for_a_wait() -> None:
    queue = WorkQueue()
    queue.retry(CAT, at_least_s=30)
    queue.add(CAT)
    queue.succeed(CAT)
    queue.add_soon(CAT)
    async with asyncio.timeout(2):
        assert await queue.take() == CAT


async def test_a_key_that_the_server_wants_to_hear_nothing_of_waits_whatever_happens_to_it() -> None:
    queue = WorkQueue()
    queue.add(CAT)
    assert await queue.take() == CAT
    queue.add(CAT)  # an event while a worker has it
    started = time.monotonic()
    queue.retry(CAT, at_least_s=0.6)
    queue.done(CAT)
    queue.add(CAT)
    queue.add_soon(CAT)
    queue.add(DOG)
    assert await queue.take() == DOG, "others go on"
    assert len(queue) == 1
    async with asyncio.timeout(1.5):
        assert await queue.take() == CAT
    assert time.monotonic() - started >= 0.59


async def test_how_long_keys_wait_is_told() -> None:
    waited: list[float] = []
    queue = WorkQueue(waited.append)
    assert queue.oldest_s() == 0
    queue.add(CAT)
    await asyncio.sleep(0.05)
    queue.add(CAT)  # being added again does not make it younger
    assert queue.oldest_s() >= 0.04
    await queue.take()
    assert waited[0] >= 0.04
    assert queue.oldest_s() == 0


async def test_what_happens_to_a_key_while_it_must_wait_is_looked_at_then_and_not_at_its_retry() -> None:
    queue = WorkQueue()
    for _ in range(9):
        queue.retry(CAT)  # so that the next retry is minutes away
    queue.retry(CAT, at_least_s=0.3)
    queue.add(CAT)
    assert await nothing_to_take(queue)
    async with asyncio.timeout(1):
        assert await queue.take() == CAT


async def test_a_key_is_looked_at_again_once_however_often_that_was_asked_for() -> None:
    queue = WorkQueue()
    for _ in range(20):
        queue.look_again(CAT, 0.02)
    assert await queue.take() == CAT
    queue.done(CAT)
    assert await nothing_to_take(queue)
    queue.look_again(CAT, 0.02)
    queue.look_again(CAT, 0.15)
    assert await nothing_to_take(queue), "the later word counts"
    async with asyncio.timeout(1):
        assert await queue.take() == CAT


async def test_what_need_not_be_looked_at_again_is_not() -> None:
    queue = WorkQueue()
    queue.look_again(CAT, 0.02)
    queue.look_again(CAT, None)
    assert await nothing_to_take(queue)
