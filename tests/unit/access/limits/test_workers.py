"""The counts of several processes of one pod, over a real socket."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.access.limits.failure import Guarded
from moorage.access.limits.proof import Proofs
from moorage.access.limits.windows import Rate
from moorage.access.limits.workers import Client, Counter


@pytest.fixture
def counter() -> Iterator[Counter]:
    made = Counter()
    made.start()
    yield made
    made.close()


async def test_workers_share_one_limit_whoever_of_them_is_asked(counter: Counter) -> None:
    workers, rate = [Client(counter.path) for _ in range(4)], Rate.of(100, 60)
    calls = [worker.take(("k",), (rate,)) for _ in range(50) for worker in workers]
    verdicts = await asyncio.gather(*calls)
    assert sum(verdict.allowed for verdict in verdicts) == 100
    assert max(used for verdict in verdicts for used, _ in verdict.windows) == 100
    for worker in workers:
        await worker.disconnect()


async def test_a_proof_that_one_worker_has_seen_is_used_for_all(counter: Counter) -> None:
    workers = [Guarded(Client(counter.path), "local", 2) for _ in range(2)]
    proofs = [Proofs(b"s" * 32, shared=worker) for worker in workers]
    assert [await each.is_first("r1") for each in proofs] == [True, False]
    assert [await each.is_first("r2") for each in reversed(proofs)] == [True, False]
    for worker in workers:
        await worker.close()


async def test_a_worker_that_gives_up_waiting_does_not_take_another_s_answer(counter: Counter) -> None:
    worker = Client(counter.path)
    await worker.take(("k",), (Rate.of(5, 60),))
    given_up = asyncio.ensure_future(worker.take(("k",), (Rate.of(5, 60),)))
    await asyncio.sleep(0)
    given_up.cancel()
    verdict = await worker.take(("other",), (Rate.of(7, 60),))
    assert verdict.windows[0][0] == 1
    await worker.disconnect()


async def test_a_worker_whose_counting_process_has_gone_counts_its_own_share() -> None:
    counter = Counter()
    counter.start()
    guarded = Guarded(Client(counter.path), "local", 2, retry_s=60)
    assert (await guarded._ask(("k",), (Rate.of(4, 60),))).allowed
    counter.close()
    assert [(await guarded._ask(("k",), (Rate.of(4, 60),))).allowed for _ in range(3)] == [True, True, False]
    await guarded.close()


def test_nobody_else_on_the_machine_may_ask(counter: Counter) -> None:
    assert Path(counter.path).parent.stat().st_mode & 0o077 == 0
