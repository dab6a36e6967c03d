"""Threads that compute: one for each core, the most urgent work first."""

import asyncio
import threading

import pytest

from moorage_predictor.engine.core_threads import CoreThreads


@pytest.fixture
def make():
    made = []

    def threads(cores):
        made.append(CoreThreads(cores, "compute", lambda: None))
        return made[-1]

    yield threads
    for one in made:
        one.close()


class Held:
    """Work that ends when it is let go."""

    def __init__(self):
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self):
        self.began.set()
        assert self.may_end.wait(10)


async def test_urgent_work_is_begun_before_what_came_earlier(make):
    threads, held, order = make(1), Held(), []
    first = threads.run(held)
    await asyncio.to_thread(held.began.wait, 10)
    usual = [threads.run(lambda number=number: order.append(number)) for number in (1, 2)]
    urgent = [threads.run(lambda number=number: order.append(number), urgent=True) for number in (3, 4)]
    held.may_end.set()
    await asyncio.gather(first, *usual, *urgent)
    assert order == [3, 4, 1, 2]


async def test_no_more_work_at_a_time_than_cores(make):
    threads, held = make(2), [Held() for _ in range(3)]
    work = [threads.run(one) for one in held]
    for one in held[:2]:
        await asyncio.to_thread(one.began.wait, 10)
    assert not held[2].began.wait(0.05)
    for one in held:
        one.may_end.set()
    await asyncio.gather(*work)


async def test_what_is_cancelled_before_it_is_begun_is_not_begun(make):
    threads, held, begun = make(1), Held(), []
    first = threads.run(held)
    await asyncio.to_thread(held.began.wait, 10)
    gone, stays = threads.run(lambda: begun.append("gone")), threads.run(lambda: begun.append("stays"))
    gone.cancel()
    await asyncio.sleep(0)
    held.may_end.set()
    await asyncio.gather(first, stays)
    assert begun == ["stays"]


async def test_each_asker_gets_its_own_result_or_error(make):
    threads = make(2)
    results = await asyncio.gather(
        *(threads.run(lambda number=number: 12 // number, urgent=number % 2 == 0) for number in (0, 1, 2, 3)),
        return_exceptions=True,
    )
    assert isinstance(results[0], ZeroDivisionError)
    assert results[1:] == [12, 6, 4]
