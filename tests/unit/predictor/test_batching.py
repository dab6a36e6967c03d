"""The queue: whose answer goes where, what shares a batch, who waits, who is refused, and what is never computed."""

import asyncio
from contextvars import ContextVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage_predictor.batching import Batcher, BatchLimits
from moorage_predictor.errors import InvalidInput, ModelFault, Overloaded

CALLER = ContextVar("caller", default="nobody")


class Model:
    """Doubles numbers, writes down its batches, fails at 13, and works only while `open`."""

    def __init__(self):
        self.batches = []
        self.alone = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, payloads, *, alone):
        self.batches.append(list(payloads))
        self.alone.append(alone)
        await self.open.wait()
        if any(payload == "poison" for payload in payloads):
            raise ValueError("poison")
        return [InvalidInput("13") if payload == 13 else payload * 2 for payload in payloads]


def batcher(model, *, size=8, queue=1000, delay=0.0, workers=1):
    return Batcher(model, BatchLimits(size, queue, delay, workers))


async def turns(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


class TestBatches:
    async def test_one_request_on_an_idle_server_does_not_wait(self):
        model = Model()
        queue = batcher(model, delay=1000)
        assert await queue.submit(4) == 8
        assert (model.batches, model.alone) == ([[4]], [True])

    async def test_what_arrives_in_one_turn_of_the_loop_shares_a_batch(self):
        model = Model()
        queue = batcher(model)
        assert await asyncio.gather(*(queue.submit(number) for number in range(5))) == [0, 2, 4, 6, 8]
        assert model.batches == [[0, 1, 2, 3, 4]]

    async def test_what_arrives_while_a_batch_runs_shares_the_next(self):
        model = Model()
        queue = batcher(model)
        model.open.clear()
        first = queue.submit(1)
        await turns()
        others = [queue.submit(number) for number in (2, 3)]
        await turns()
        model.open.set()
        assert await asyncio.gather(first, *others) == [2, 4, 6]
        assert model.batches == [[1], [2, 3]]

    async def test_a_batch_that_is_not_full_waits_while_company_is_prepared(self):
        model, coming = Model(), [True]
        queue = Batcher(model, BatchLimits(3, 1000, workers=2), lambda: coming[0])
        first = [queue.submit(number) for number in (1, 2)]
        await turns()
        assert model.batches == []
        third = queue.submit(3)
        await turns()
        assert model.batches == [[1, 2, 3]]
        fourth = queue.submit(4)
        await turns()
        coming[0] = False  # what was awaited could not be read
        queue.look()
        assert await asyncio.gather(*first, third, fourth) == [2, 4, 6, 8]
        assert model.batches == [[1, 2, 3], [4]]

    async def test_a_batch_holds_at_most_so_many_rows_and_not_calls(self):
        model = Model()
        queue = batcher(model, size=4)
        await asyncio.gather(*(queue.submit(number, rows=rows) for number, rows in enumerate([2, 1, 2, 4, 1])))
        assert model.batches == [[0, 1], [2], [3], [4]]

    async def test_a_request_with_more_rows_than_a_batch_runs_by_itself(self):
        model = Model()
        queue = batcher(model, size=4)
        assert await asyncio.gather(queue.submit(1), queue.submit(2, rows=9), queue.submit(3)) == [2, 4, 6]
        assert model.batches == [[1], [2], [3]]

    async def test_other_shapes_never_share_a_batch(self):
        model = Model()
        queue = batcher(model)
        await asyncio.gather(*(queue.submit(number, key=number % 2) for number in range(4)))
        assert model.batches == [[0, 2], [1, 3]]

    @pytest.mark.parametrize("delay", [0, 0.02])
    async def test_no_batch_runs_in_the_context_of_a_request(self, delay):
        found = []

        async def run(payloads, *, alone):
            found.append(CALLER.get())
            return payloads

        queue = Batcher(run, BatchLimits(2, 1000, delay))

        async def call(name):
            CALLER.set(name)
            await queue.submit(name)

        await asyncio.gather(*(asyncio.create_task(call(f"caller {number}")) for number in range(5)))
        assert found == ["nobody"] * 3

    async def test_idle_workers_share_what_waits(self):
        model = Model()
        queue = batcher(model, workers=2)
        await asyncio.gather(*(queue.submit(number) for number in range(6)))
        assert model.batches == [[0, 1, 2], [3, 4, 5]]
        assert model.alone == [False, False]

    async def test_the_important_go_first(self):
        model = Model()
        queue = batcher(model, size=1)
        model.open.clear()
        waiting = [queue.submit(0)]
        await turns()
        waiting += [queue.submit(number, priority=priority) for number, priority in [(1, 9), (2, 5), (3, 1), (4, 5)]]
        model.open.set()
        await asyncio.gather(*waiting)
        assert model.batches == [[0], [3], [2], [4], [1]]


class TestDelay:
    async def test_after_company_a_row_waits_for_company_again_but_not_longer_than_told(self):
        model = Model()
        queue = batcher(model, delay=0.05)
        await asyncio.gather(queue.submit(1), queue.submit(2))
        alone = queue.submit(3)
        await turns()
        assert len(model.batches) == 1
        assert await alone == 6

    async def test_a_full_batch_does_not_wait(self):
        model = Model()
        queue = batcher(model, size=2, delay=1000)
        await asyncio.gather(queue.submit(1), queue.submit(2))
        first = queue.submit(3)
        await turns()
        assert await asyncio.gather(first, queue.submit(4)) == [6, 8]

    async def test_a_row_that_waits_keeps_nobody_of_another_shape(self):
        model = Model()
        queue = batcher(model, size=2, delay=1000)
        await asyncio.gather(queue.submit(1), queue.submit(2))
        waits = queue.submit(3, key="lonely")
        await turns()
        await asyncio.gather(queue.submit(4), queue.submit(5))
        assert not waits.done()
        waits.cancel()


class TestFaults:
    async def test_a_request_that_is_at_fault_fails_alone(self):
        queue = batcher(Model())
        answers = await asyncio.gather(*(queue.submit(number) for number in (1, 13, 2)), return_exceptions=True)
        assert answers[::2] == [2, 4]
        assert isinstance(answers[1], InvalidInput)

    async def test_one_that_fails_the_whole_batch_fails_alone(self):
        model = Model()
        queue = batcher(model)
        answers = await asyncio.gather(*(queue.submit(one) for one in (1, "poison", 2)), return_exceptions=True)
        assert answers[::2] == [2, 4]
        assert isinstance(answers[1], ValueError)
        assert model.batches == [[1, "poison", 2], [1], ["poison"], [2]]

    async def test_answers_that_cannot_be_told_apart_are_given_to_nobody(self):
        async def loses_one(payloads, *, alone):
            return payloads[1:]

        queue = batcher(loses_one)
        answers = await asyncio.gather(queue.submit(1), queue.submit(2), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ModelFault, ModelFault]

    async def test_the_next_batch_runs_after_one_that_failed(self):
        queue = batcher(Model())
        with pytest.raises(ValueError, match="poison"):
            await queue.submit("poison")
        assert await queue.submit(1) == 2


class TestWhoGoes:
    async def test_what_is_cancelled_while_it_waits_is_not_computed(self):
        model = Model()
        queue = batcher(model)
        model.open.clear()
        first = queue.submit(1)
        await turns()
        gone, stays = queue.submit(2), queue.submit(3)
        gone.cancel()
        model.open.set()
        assert await asyncio.gather(first, stays) == [2, 6]
        assert model.batches == [[1], [3]]
        assert (queue.waiting, queue.running) == (0, 0)

    async def test_one_that_goes_while_its_batch_runs_takes_nothing_from_its_neighbours(self):
        model = Model()
        queue = batcher(model)
        model.open.clear()
        gone, stays = queue.submit(1), queue.submit(2)
        await turns()
        gone.cancel()
        model.open.set()
        assert await stays == 4


class TestFullQueue:
    async def test_a_full_queue_refuses_and_says_when_to_come_again(self):
        model = Model()
        queue = batcher(model, queue=2)
        model.open.clear()
        running = queue.submit(1)
        await turns()
        waiting = [queue.submit(2), queue.submit(3)]
        with pytest.raises(Overloaded) as refused:
            queue.submit(4)
        assert refused.value.retry_after_s >= 1
        model.open.set()
        assert await asyncio.gather(running, *waiting) == [2, 4, 6]

    async def test_those_who_went_leave_room(self):
        model = Model()
        queue = batcher(model, queue=2)
        model.open.clear()
        running = queue.submit(1)
        await turns()
        for waiting in (queue.submit(2), queue.submit(3)):
            waiting.cancel()
        last = queue.submit(4)
        model.open.set()
        assert await asyncio.gather(running, last) == [2, 8]

    async def test_one_request_larger_than_the_queue_is_taken_when_nobody_waits(self):
        assert await batcher(Model(), queue=2).submit(1, rows=5) == 2


async def test_what_is_observed_adds_up():
    seen = []
    queue = batcher(Model())
    queue.observe = lambda rows, waited_s, run_s, items: seen.append((rows, items))
    await asyncio.gather(queue.submit(1, rows=2), queue.submit(2))
    await turns()
    assert seen == [(3, 2)]


@settings(max_examples=60, deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 2), st.integers(1, 10), st.booleans()),
        max_size=40,
    ),
    size=st.integers(1, 8),
    workers=st.integers(1, 3),
    delay=st.sampled_from([0.0, 0.001]),
)
def test_every_answer_is_its_own_callers_whatever_the_others_do(arrivals, size, workers, delay):
    async def model(payloads, *, alone):
        assert len({key for _, key, _ in payloads}) == 1
        assert len(payloads) == 1 or sum(rows for _, _, rows in payloads) <= size
        await asyncio.sleep(0)
        return [number for number, _, _ in payloads]

    async def call(queue, number, rows, key, priority, goes):
        await asyncio.sleep(0.0001 * (number % 7))
        answer = queue.submit((number, key, rows), rows, key, priority)
        if goes:
            await asyncio.sleep(0)
            answer.cancel()
            return True
        return await answer == number

    async def everybody():
        queue = batcher(model, size=size, workers=workers, delay=delay)
        calls = [call(queue, number, *arrival) for number, arrival in enumerate(arrivals)]
        assert all(await asyncio.gather(*calls))
        await asyncio.sleep(0.003)
        assert (queue.waiting, queue.running) == (0, 0)

    asyncio.run(everybody())
