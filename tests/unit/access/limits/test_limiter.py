"""Which rules speak of a call, who is counted by each, and what the answer says."""

from typing import Any

import pytest

from moorage.access.limits.decision import Decision
from moorage.access.limits.limiter import Limiter, Unavailable
from moorage.access.limits.windows import MemoryStore
from moorage.access.principal import ANONYMOUS, Limit, Principal
from moorage.api.rate_limits import RateRule

ALICE = Principal("alice", "key", "read-write")
TOKEN = Principal("https://issuer|bob", "jwt", "read-write")
IP = "192.0.2.1"
NOW = 1_700_000_000.5


class Clock:
    def __init__(self) -> None:
        self.now_us = 5_000_000

    def __call__(self) -> int:
        return self.now_us * 1000


def limiter(*rules: str, clock: Clock | None = None, **options: Any) -> Limiter:
    return Limiter([RateRule.parse(rule) for rule in rules], MemoryStore(clock or Clock()), now=lambda: NOW, **options)


def ask(
    made: Limiter, principal: Principal = ALICE, ip: str = IP, operation: Any = "predict", model: str = "cats"
) -> Any:
    return made.take(principal, ip, operation, model)


def calls_until_refused(made: Limiter, **who: Any) -> int:
    return next(number for number in range(100) if not ask(made, **who).allowed)


def test_the_moment_of_the_next_call_is_told_in_whole_seconds_that_suffice() -> None:
    clock = Clock()
    made = limiter("2/minute", clock=clock)
    assert ask(made) == Decision(True, 2, 1, 1_700_000_061, 0)
    clock.now_us += 10_000_000
    assert ask(made) == Decision(True, 2, 0, 1_700_000_051, 0)
    clock.now_us += 49_500_000
    assert ask(made) == Decision(False, 2, 0, 1_700_000_001, 1)
    clock.now_us += 500_000
    assert ask(made).allowed


def test_a_refusal_is_of_the_rule_that_refuses_the_longest() -> None:
    made = limiter("1/second", "1/hour", "1/minute")
    ask(made)
    refused = ask(made)
    assert (refused.allowed, refused.limit, refused.retry_after_s) == (False, 1, 3600)


def test_no_rule_says_nothing() -> None:
    assert ask(limiter("1/second operation=manage")) is None
    assert ask(limiter("1/second model=dogs")) is None
    assert limiter("1/second").take(ALICE, IP, "batch", "cats") is None


def test_a_key_and_a_token_of_one_name_are_two_callers() -> None:
    made = limiter("1/hour")
    assert ask(made, Principal("x", "key", "read")).allowed
    assert ask(made, Principal("x", "jwt", "read")).allowed
    assert ask(made, Principal("x", "anonymous", "read")).allowed
    assert not ask(made, Principal("x", "key", "read")).allowed


def test_keys_and_tokens_have_their_own_rules_where_there_are_both() -> None:
    made = limiter("3/hour by=key", "5/hour by=subject")
    assert calls_until_refused(made, principal=ALICE) == 3
    assert calls_until_refused(made, principal=TOKEN) == 5


@pytest.mark.parametrize("rule", ["3/hour by=key", "3/hour by=subject", "3/hour", "3/hour by=ip"])
@pytest.mark.parametrize("principal", [ALICE, TOKEN, ANONYMOUS])
def test_nobody_goes_uncounted(rule: str, principal: Principal) -> None:
    assert calls_until_refused(limiter(rule), principal=principal) == 3


def test_addresses_are_counted_whoever_calls_from_them() -> None:
    made = limiter("1/hour by=ip")
    assert ask(made, ALICE).allowed
    assert not ask(made, TOKEN).allowed
    assert ask(made, TOKEN, ip="192.0.2.2").allowed


def test_own_limits_stand_for_the_general_ones_of_the_same_operation() -> None:
    made = limiter("1/hour", "2/hour operation=manage", "9/hour by=ip")
    own = Principal("big", "key", "admin", limits=(Limit(4, "hour", "predict"),))
    assert calls_until_refused(made, principal=own) == 4
    assert calls_until_refused(made, principal=own, operation="manage") == 1


def test_an_own_limit_for_batches_is_asked_although_there_is_no_general_one() -> None:
    made = limiter("1/hour")
    own = Principal("big", "key", "admin", limits=(Limit(2, "hour", "batch"),))
    assert made.counts_batches(own)
    assert not made.counts_batches(ALICE)
    assert calls_until_refused(made, principal=own, operation="batch") == 2


def test_a_rule_that_is_there_twice_counts_once() -> None:
    assert calls_until_refused(limiter("4/hour by=ip", "4/hour by=ip")) == 4
    own = Principal("big", "key", "admin", limits=(Limit(4, "hour"), Limit(4, "hour"), Limit(9, "hour")))
    assert calls_until_refused(limiter("1/hour"), principal=own) == 4


def test_keys_of_one_tenant_share_a_count_and_each_is_held_to_its_own_limit() -> None:
    made = limiter("1/hour")
    large = Principal("large", "key", "read", limits=(Limit(6, "hour"),), tenant="acme")
    small = Principal("small", "key", "read", limits=(Limit(2, "hour"),), tenant="acme")
    other = Principal("other", "key", "read", limits=(Limit(2, "hour"),))
    assert [ask(made, who).allowed for who in (small, large, large)] == [True] * 3
    assert not ask(made, small).allowed
    assert calls_until_refused(made, principal=large) == 3
    assert calls_until_refused(made, principal=other) == 2


def test_names_of_models_that_no_rule_has_take_no_memory() -> None:
    made = limiter("1000/hour model=cats", "1000/hour")
    for number in range(50):
        ask(made, model=f"made-up-{number}")
    assert len(made._plans) == 1


def test_a_subject_of_any_length_and_content_is_one_short_key() -> None:
    made = limiter("1/hour")
    long = Principal("x" * 100_000 + "\n\ud800", "jwt", "read")
    assert ask(made, long).allowed
    assert not ask(made, long).allowed
    assert ask(made, Principal("x" * 100_000 + "\r", "jwt", "read")).allowed
    assert all(len(key) < 200 for key in made._store._windows)  # type: ignore[attr-defined]


def test_each_decision_is_told() -> None:
    told: list[Any] = []
    made = limiter("1/hour", decided=lambda *words: told.append(words))
    ask(made)
    ask(made)
    assert told == [("predict", "key", True), ("predict", "key", False)]


async def test_a_store_that_is_away_is_no_limit_of_the_caller_s() -> None:
    class Away:
        def __init__(self, allowed: bool) -> None:
            self._answer = Unavailable(allowed, 3)

        async def take(self, keys: Any, rates: Any) -> Unavailable:
            return self._answer

    rule = [RateRule.parse("1/hour")]
    assert await ask(Limiter(rule, Away(True))) is None
    refused = await ask(Limiter(rule, Away(False)))
    assert refused.headers() == [(b"retry-after", b"3")]
    assert "cannot be checked now" in refused.reason()
