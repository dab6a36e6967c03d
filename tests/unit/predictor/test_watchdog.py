"""Signs of life, and the lack of them."""

import asyncio
import contextlib
import os
import threading
import time

import numpy as np
import pytest

from moorage.api.exit_codes import ExitCode
from moorage_predictor import watchdog
from moorage_predictor.batching import BatchLimits
from moorage_predictor.errors import DeadlineExceeded
from moorage_predictor.watchdog import Heartbeat, LoopWatch, until_hung
from moorage_predictor.wire.pipeline import Pipeline
from moorage_predictor.worker import HoldBack


class Waiting:
    """Answers when it is let go."""

    name = "cats"
    ready = True

    def __init__(self):
        self.go = threading.Event()

    def predict(self, payload, headers=None):
        self.go.wait(60)
        return np.zeros(1)


@pytest.fixture
async def model():
    made = Waiting()
    yield made
    made.go.set()


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(watchdog, "_LOOK_S", 0.01)


async def hangs(pipeline, limit_s, within_s=0.5):
    try:
        return await asyncio.wait_for(until_hung(lambda: [("cats", pipeline)], limit_s), within_s)
    except TimeoutError:
        return None


async def test_a_model_that_answers_none_of_its_requests_hangs(model):
    pipeline = Pipeline(model)
    work = asyncio.ensure_future(pipeline.predict(1, {}))
    sentence = await hangs(pipeline, 0.1)
    assert sentence.startswith("the model cats has answered nothing for ")
    assert "--forward-timeout-s=0.1" in sentence
    model.go.set()
    await work


async def test_a_model_hangs_also_where_its_callers_give_up(model):
    pipeline = Pipeline(model)
    with pytest.raises(DeadlineExceeded):
        await pipeline.predict(1, {"x-request-timeout": "0.01"})
    assert await hangs(pipeline, 0.1)


async def test_a_model_that_nobody_asks_does_not_hang(model):
    assert await hangs(Pipeline(model), 0.1) is None


async def test_a_slow_model_that_answers_now_and_then_does_not_hang(model):
    pipeline = Pipeline(model)
    work = [asyncio.ensure_future(pipeline.predict(1, {}))]

    async def answer():
        for _ in range(10):
            await asyncio.sleep(0.04)
            model.go.set()
            await work.pop()
            model.go.clear()
            work.append(asyncio.ensure_future(pipeline.predict(1, {})))

    found, _ = await asyncio.gather(hangs(pipeline, 0.2, 0.4), answer())
    assert found is None
    model.go.set()
    await work.pop()


class Slow:
    name, ready = "cats", True

    def predict(self, payload, headers=None):
        time.sleep(0.03)
        return payload


class Later(Slow):
    async def predict(self, payload, headers=None):
        await asyncio.sleep(0.03)
        return payload


@pytest.mark.parametrize(("kind", "limits"), [(Slow, None), (Slow, BatchLimits(8, 100)), (Later, BatchLimits(8, 100))])
async def test_a_model_that_comes_to_an_end_after_its_callers_have_left_does_not_hang(kind, limits):
    pipeline = Pipeline(kind(), limits, lambda *_: None)

    async def leave_early():
        while True:
            with contextlib.suppress(DeadlineExceeded):
                await pipeline.predict({"instances": [1]}, {"x-request-timeout": "0.02"})

    leaving = asyncio.create_task(leave_early())
    assert await hangs(pipeline, 0.2, 0.6) is None
    leaving.cancel()
    await asyncio.wait([leaving])
    await asyncio.sleep(0.1)  # for the last batch
    await pipeline.retire()


async def test_a_stream_whose_reader_takes_long_does_not_hang_and_one_whose_model_does_hangs(model):
    go = asyncio.Event()

    async def pieces():
        yield b"a"
        await go.wait()
        yield b"b"

    model.never_blocks = True
    pipeline = Pipeline(model)
    stream = pipeline.pieces(pieces())
    await anext(stream)
    assert pipeline.busy
    assert await hangs(pipeline, 0.1) is None
    second = asyncio.ensure_future(anext(stream))
    assert await hangs(pipeline, 0.1)
    go.set()
    assert await second == b"b"
    await stream.aclose()
    assert not pipeline.busy


async def test_with_0_nothing_hangs(model):
    pipeline = Pipeline(model)
    work = asyncio.ensure_future(pipeline.predict(1, {}))
    assert await hangs(pipeline, 0, 0.2) is None
    model.go.set()
    await work


async def test_a_loop_that_runs_gives_signs_of_life_and_one_that_is_stuck_none(model):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    Heartbeat(writing, 0.05, lambda: [], 60).start(asyncio.get_running_loop())
    await asyncio.sleep(0.1)
    assert len(os.read(reading, 4096)) >= 2
    threading.Event().wait(0.2)
    with pytest.raises(BlockingIOError):
        os.read(reading, 4096)


async def test_a_long_call_on_the_loop_is_a_sign_of_life_until_it_is_too_long(model):
    pipeline = Pipeline(model)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    Heartbeat(writing, 0.05, lambda: [("cats", pipeline)], 0.5).start(asyncio.get_running_loop())
    pipeline.lane.inline = True
    threading.Timer(0.2, lambda: seen.append(len(os.read(reading, 4096)))).start()
    threading.Timer(1.5, model.go.set).start()
    seen = []
    await pipeline.predict(1, {})
    assert seen[0] >= 2
    assert len(os.read(reading, 4096)) <= 60  # or it would be 130
    assert pipeline.lane.here_since == 0


def test_what_a_parent_says_is_read_as_it_was_meant_and_other_lines_are_not():
    for word in (HoldBack("worker 1 ended 3 times"), HoldBack(None)):
        assert HoldBack.from_line(word.line()) == word
    for line in ("", "hold", '{"hold_back":', '{"progress": 1}'):
        assert HoldBack.from_line(line) is None


class Ended:
    """What a process is ended with, once."""

    def __init__(self):
        self.event = threading.Event()

    def __call__(self, code, reason):
        self.code, self.reason = code, reason
        self.event.set()


def watched(pipeline, ended, forward_limit_s, stop_limit_s=60.0):
    watch = LoopWatch(lambda: [("cats", pipeline)], forward_limit_s, stop_limit_s, ended)
    watch.start()
    return watch


def test_a_call_that_hangs_on_the_event_loop_ends_the_process_from_a_thread(model):
    pipeline, ended = Pipeline(model), Ended()
    watched(pipeline, ended, 0.1)
    pipeline.lane.here_since = time.perf_counter()
    assert ended.event.wait(10)
    assert ended.code == ExitCode.INTERNAL
    assert ended.reason.startswith("the model cats has answered nothing for ")


def test_a_call_on_the_event_loop_may_take_for_ever_where_that_is_wanted(model):
    pipeline, ended = Pipeline(model), Ended()
    watched(pipeline, ended, 0)
    pipeline.lane.here_since = time.perf_counter() - 1e6
    assert not ended.event.wait(0.2)


def test_a_process_told_to_stop_that_does_not_is_ended_as_one_that_left_requests(model):
    pipeline, ended = Pipeline(model), Ended()
    watch = watched(pipeline, ended, 60, stop_limit_s=0.1)
    assert not ended.event.wait(0.3)
    watch.told_to_stop()
    assert ended.event.wait(10)
    assert ended.code == ExitCode.UNFINISHED
    assert ended.reason == "not at an end 0.1 s after it was told to stop"
