"""Whether one call may be made: which rules speak of it, who is counted by each, and what the store says. One for each
process; asked by `asgi.RateLimits` and by the predictor's gRPC service.

    rules, principal, address, operation, model -> keys and rates -> store.take -> Verdict -> Decision
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from typing import Final, NamedTuple, Protocol

from moorage.access.limits.decision import Decision
from moorage.access.limits.windows import Rate, Verdict
from moorage.access.principal import Principal
from moorage.api.rate_limits import SECONDS, By, Operation, RateRule

_PLAIN: Final = 80
"""Characters of an identity that stand in a key as they are; longer ones are hashed."""
_OTHER: Final[dict[str, By]] = {"key": "subject", "jwt": "key"}
"""Rules that do not count such a caller, if there is one that does by name. Else they count it too: nobody goes uncounted."""
_MOST_OWN: Final = 10_000
"""Plans of callers with limits of their own."""


class Unavailable(NamedTuple):
    """Instead of a verdict: the store does not answer."""

    allowed: bool
    retry_after_s: int


Answer = Verdict | Unavailable


class Store(Protocol):
    """Where the counts are."""

    def take(self, keys: Sequence[str], rates: Sequence[Rate]) -> Answer | Awaitable[Answer]:
        """Count a call in the window of each key, if all have room by the rate in the same place; else in none."""


class _Plan(NamedTuple):
    """The rules of one kind of call."""

    names: tuple[str, ...]
    """What tells the windows of one rule from those of another."""
    bys: tuple[By, ...]
    rates: tuple[Rate, ...]


def _plan(own: Sequence[RateRule], rules: Sequence[RateRule]) -> _Plan:
    """A rule that is there twice counts once. A caller's own limits have no number in their names: the keys of one tenant share
    one window, and each call has to find room in it by its own key's limit."""
    least_last = sorted(own, key=lambda rule: -rule.requests)
    named = {f"own/{rule.per}/{rule.operation or ''}": rule for rule in least_last}
    for rule in rules:
        named[f"{rule.requests}/{rule.per}/{rule.operation or ''}/{rule.model or ''}/{rule.by}"] = rule
    return _Plan(
        tuple(named),
        tuple([rule.by for rule in named.values()]),
        tuple([Rate.of(rule.requests, SECONDS[rule.per]) for rule in named.values()]),
    )


class Limiter:
    """`take` is a plain call while the store is this process' memory, and has to be awaited where it is not."""

    def __init__(
        self,
        rules: Sequence[RateRule],
        store: Store,
        *,
        decided: Callable[[Operation, str, bool], None] = lambda operation, caller, allowed: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`decided` is told of each call: its operation, the kind of its caller, and whether it was let through."""
        self._rules = tuple(rules)
        self._store = store
        self._decided = decided
        self._now = now
        self._named = frozenset(rule.model for rule in rules)
        self._plans: dict[tuple[str, Operation, str | None], _Plan] = {}
        self._own: dict[tuple[Principal, Operation, str | None], _Plan] = {}
        self._counts_batches = any(rule.operation == "batch" for rule in rules)

    def take(
        self, principal: Principal, client_ip: str, operation: Operation, model: str | None
    ) -> Decision | Awaitable[Decision | None] | None:
        """Count a call, or refuse it. None: no rule speaks of it, or nothing is counted while the store is away.

        `batch` asks the rules for batches alone: the call has been counted as `predict` before it was read.
        """
        plan = self._plan_of(principal, operation, model)
        if not plan.names:
            return None
        keys = [f"{name}/{_identity(by, principal, client_ip)}" for name, by in zip(plan.names, plan.bys, strict=True)]
        answer = self._store.take(keys, plan.rates)
        if isinstance(answer, tuple):
            self._decided(operation, principal.kind, answer.allowed)
            return self._decision(plan, answer)
        return self._later(plan, answer, operation, principal)

    def counts_batches(self, principal: Principal) -> bool:
        """Whether a call of this caller has to be asked about a second time, once it is known to have several rows."""
        return self._counts_batches or any(limit.operation == "batch" for limit in principal.limits)

    async def _later(
        self, plan: _Plan, pending: Awaitable[Answer], operation: Operation, principal: Principal
    ) -> Decision | None:
        answer = await pending
        self._decided(operation, principal.kind, answer.allowed)
        return self._decision(plan, answer)

    def _decision(self, plan: _Plan, answer: Answer) -> Decision | None:
        if isinstance(answer, Unavailable):
            return None if answer.allowed else Decision(False, 0, 0, 0, answer.retry_after_s, counted=False)
        allowed, now, windows = answer
        at, least, latest = 0, -1, now
        for place, (used, leaves) in enumerate(windows):
            left = plan.rates[place].limit - used
            left = 0 if left < 0 else left
            if least < 0 or left < least or (left == least and leaves > latest):
                at, least, latest = place, left, leaves
        wait_s = (latest - now) / 1_000_000
        return Decision(
            allowed,
            plan.rates[at].limit,
            least if allowed else 0,
            ceil(self._now() + wait_s),
            0 if allowed else max(1, ceil(wait_s)),
        )

    def _plan_of(self, principal: Principal, operation: Operation, model: str | None) -> _Plan:
        if model not in self._named:
            model = None  # names that no rule has come from outside, and there is no end of them
        if not principal.limits:
            plan = self._plans.get((principal.kind, operation, model))
            if plan is None:
                plan = self._plans[principal.kind, operation, model] = _plan(*self._of(principal, operation, model))
            return plan
        plan = self._own.get((principal, operation, model))
        if plan is None:
            if len(self._own) >= _MOST_OWN:
                self._own.clear()
            plan = self._own[principal, operation, model] = _plan(*self._of(principal, operation, model))
        return plan

    def _of(
        self, principal: Principal, operation: Operation, model: str | None
    ) -> tuple[list[RateRule], list[RateRule]]:
        """A caller's own limits, and the general ones. Its own stand for those that count the caller; by address all hold."""
        kinds = (operation,) if operation == "batch" else (operation, None)
        rules = [rule for rule in self._rules if rule.operation in kinds and rule.model in (None, model)]
        other = _OTHER.get(principal.kind)
        if any(rule.by in ("key", "subject") and rule.by != other for rule in rules):
            rules = [rule for rule in rules if rule.by != other]
        own = [RateRule(each.requests, each.per, "caller", each.operation) for each in principal.limits]
        mine = [rule for rule in own if rule.operation in kinds]
        return mine, [rule for rule in rules if not mine or rule.by == "ip"]


def _identity(by: By, principal: Principal, client_ip: str) -> str:
    """Who is counted. A caller without what a rule counts by is counted by what it has: nobody goes uncounted."""
    if by == "ip" or principal.kind == "anonymous":
        return f"ip:{client_ip}"
    who = principal.tenant
    if who is not None:
        kind = "tenant"
    else:
        kind, who = principal.kind, principal.id
    if len(who) > _PLAIN or not who.isprintable():
        return f"{kind}#{hashlib.sha256(who.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
    return f"{kind}:{who}"
