"""Where a model's own code runs: quick functions on the loop, others in their thread."""

import asyncio
import concurrent.futures
import threading
import time

import pytest

from moorage_predictor.wire.lane import (
    FAR_TOO_LONG_S,
    LONG_IN_A_ROW,
    LONG_S,
    TRIALS,
    WAITS_S,
    WINDOW,
    Lane,
    ModelLoop,
    apart,
)


@pytest.fixture
def lane():
    made = Lane("cats")
    yield made
    made.close()


def work(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def here():
    return threading.current_thread() is threading.main_thread()


async def learn(lane):
    for _ in range(TRIALS):
        await lane.run(here)


async def test_a_new_model_runs_in_a_thread(lane):
    assert not lane.inline
    assert await lane.run(here) is False


async def test_a_model_found_quick_runs_on_the_loop(lane):
    await learn(lane)
    assert lane.inline
    assert await lane.run(here) is True


async def test_a_slow_model_stays_in_its_thread(lane):
    for _ in range(TRIALS + 1):
        await lane.run(lambda: time.sleep(WAITS_S * 1.1))
    assert not lane.inline


async def test_a_model_that_works_far_too_long_once_goes_back_to_its_thread_for_ten_times_as_many_calls(lane):
    await learn(lane)
    assert lane.inline
    await lane.run(lambda: busy(FAR_TOO_LONG_S * 1.1))
    assert not lane.inline
    for _ in range(9):
        await learn(lane)
    assert not lane.inline
    await learn(lane)
    assert lane.inline


async def test_a_model_that_waits_for_something_goes_back_to_its_thread(lane):
    await learn(lane)
    for _ in range(LONG_IN_A_ROW - 1):
        await lane.run(lambda: time.sleep(LONG_S * 1.1))
        assert lane.inline
    await lane.run(lambda: time.sleep(LONG_S * 1.1))
    assert not lane.inline


def busy(seconds=LONG_S * 1.1):
    """At work so long; longer than a call on the loop should be."""
    started = time.thread_time()
    while time.thread_time() - started < seconds:
        pass


async def test_a_single_long_call_is_forgiven_and_many_are_not(lane):
    await learn(lane)
    await lane.run(lambda: work(LONG_S * 1.2))
    assert lane.inline
    for _ in range(WINDOW // 100):
        await lane.run(lambda: work(LONG_S * 1.2))
    assert not lane.inline


async def test_a_call_never_runs_beside_one_in_the_thread(lane):
    entered, leave = threading.Event(), threading.Event()

    def work():
        entered.set()
        leave.wait(5)

    working = asyncio.create_task(lane.run(work))
    await asyncio.to_thread(entered.wait, 5)
    lane.inline = True
    second = asyncio.create_task(lane.run(here))
    await asyncio.sleep(0.01)
    assert not second.done()
    leave.set()
    await working
    assert await second is True


async def test_errors_come_back_from_either_place(lane):
    def fail():
        raise KeyError("x")

    for lane.inline in (False, True):
        with pytest.raises(KeyError):
            await lane.run(fail)


async def test_coroutines_run_in_a_loop_of_their_own_and_end_with_their_caller():
    loop = ModelLoop("cats")
    cancelled = threading.Event()

    async def where():
        return threading.current_thread().name

    async def endless():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    assert await loop.run(where()) == "predict-cats"
    task = asyncio.create_task(loop.run(endless()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(cancelled.wait, 2)
    loop.close()


class Panic(BaseException):
    """What an extension in Rust raises where it would have ended the process."""


@pytest.mark.parametrize("error", [SystemExit, Panic, asyncio.CancelledError, concurrent.futures.CancelledError])
async def test_code_that_wants_to_end_the_process_or_raises_what_no_future_takes_ends_its_request_alone(lane, error):
    def leave():
        raise error

    async def leave_later():
        raise error

    loop = ModelLoop("cats")
    for lane.inline in (False, True):
        with pytest.raises(RuntimeError, match=f"the model's code raised {error.__name__}"):
            await lane.run(leave)
    with pytest.raises(RuntimeError, match=f"the model's code raised {error.__name__}"):
        await loop.run(leave_later())
    with pytest.raises(RuntimeError, match=f"the model's code raised {error.__name__}"):
        await asyncio.wait_for(apart(leave, "load"), 10)
    assert await loop.run(asyncio.sleep(0, "still here")) == "still here"
    loop.close()


def test_a_loop_that_was_never_used_is_closed_too():
    ModelLoop("cats").close()


async def test_a_model_that_runs_out_of_an_iterator_fails_and_does_not_hang(lane):
    with pytest.raises(RuntimeError, match="the model's code raised StopIteration"):
        await asyncio.wait_for(lane.run(lambda: next(iter(()))), 10)


async def test_a_call_counts_as_finished_when_it_has_run_whether_or_not_its_caller_is_there(lane):
    go = threading.Event()
    running, waiting = asyncio.create_task(lane.run(lambda: go.wait(10))), asyncio.create_task(lane.run(here))
    await asyncio.sleep(0.01)
    for caller in (running, waiting):
        caller.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert lane.finished == 0  # a call that was cancelled before its turn says nothing of the model
    go.set()
    await lane.run(here)
    assert lane.finished == 2


def test_the_loop_closes_while_something_runs_apart():
    go, ended = threading.Event(), []

    def load():
        go.wait(1)
        ended.append(go.is_set())

    async def begin():
        loading = asyncio.create_task(apart(load, "load"))
        await asyncio.sleep(0.01)
        return loading

    loading = asyncio.run(begin())
    assert loading.cancelled()
    assert ended == []
    go.set()


async def test_what_runs_apart_gives_its_result_or_what_it_raises():
    assert await apart(here, "load") is False
    with pytest.raises(ZeroDivisionError):
        await apart(lambda: 1 / 0, "load")
    with pytest.raises(RuntimeError, match="the model's code raised StopIteration"):
        await apart(lambda: next(iter(())), "load")
