"""When a store that others keep counts as away. A real one that fails is in tests/e2e/limits."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import pytest

from moorage.access.limits.failure import Guarded
from moorage.access.limits.limiter import Unavailable
from moorage.access.limits.windows import Rate, Verdict
from moorage.access.limits.workers import Client, Counter

KEYS, RATES = ("k",), (Rate.of(5, 60),)


@pytest.fixture
def counter() -> Iterator[Counter]:
    made = Counter()
    made.start()
    yield made
    made.close()


async def test_a_store_that_has_answered_while_this_process_was_busy_is_not_away(counter: Counter) -> None:
    guarded = Guarded(Client(counter.path), "closed", deadline_s=0.2, retry_s=60)
    assert isinstance(await guarded._ask(KEYS, RATES), Verdict)
    asked = asyncio.ensure_future(guarded._ask(KEYS, RATES))
    await asyncio.sleep(0)
    time.sleep(0.3)  # the fault: a loop that does not turn for longer than the deadline
    assert isinstance(await asked, Verdict)
    assert not guarded.away
    await guarded.close()


class Silent:
    """Takes calls and never answers."""

    errors: tuple[type[Exception], ...] = (OSError,)

    async def take(self, keys: Sequence[str], rates: Sequence[Rate]) -> Verdict:
        return await asyncio.get_running_loop().create_future()

    async def disconnect(self) -> None:
        pass


@pytest.mark.parametrize("busy_s", [0.0, 0.1])
async def test_a_store_that_does_not_answer_is_away_also_when_this_process_was_busy(busy_s: float) -> None:
    guarded = Guarded(Silent(), "closed", deadline_s=0.05, retry_s=60)
    asked = asyncio.ensure_future(guarded._ask(KEYS, RATES))
    await asyncio.sleep(0)
    time.sleep(busy_s)
    assert isinstance(await asked, Unavailable)
    assert guarded.away
    await guarded.close()
