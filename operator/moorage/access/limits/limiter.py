"""Whether one call may be made: which rules speak of it, who is counted by each, and what the store says. One for each
process; asked by `asgi.RateLimits` and by the predictor's gRPC service.

    rules, principal, address, operation, model -> keys and rates -> store.take -> Verdict -> Decision
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from typing import Final, NamedTuple, Protocol

from moorage.access.limits.decision import Decision, allowed
from moorage.access.limits.windows import Rate, Verdict
from moorage.access.principal import Principal
from moorage.api.rate_limits import SECONDS, By, Operation, RateRule

_PLAIN: Final = 80
"""Characters of an identity that stand in a key as they are; longer ones are hashed."""
_OTHER: Final[dict[str, By]] = {"key": "subject", "jwt": "key"}
"""Rules that do not count such a caller, if there is one that does by name. Else they count it too: nobody goes uncounted."""
_MOST_KNOWN: Final = 10_000
"""Callers whose keys are remembered, for each operation and model."""


class Unavailable(NamedTuple):
    """Instead of a verdict: the store does not answer."""

    allowed: bool
    retry_after_s: int


Answer = Verdict | Unavailable


class Store(Protocol):
    """Where the counts are."""

    def take(self, keys: Sequence[str], rates: Sequence[Rate]) -> Answer | Awaitable[Answer]:
        """Count a call in the window of each key, if all have room by the rate in the same place; else in none."""


class _Counted(NamedTuple):
    """Where calls of one caller are counted, for one operation and model."""

    principal: Principal
    keys: tuple[str, ...]
    rates: tuple[Rate, ...]


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
        # By the principal's place in memory: its hash is over all fields, and costs more than the rest of the look.
        self._known: dict[tuple[int, str, Operation, str | None], _Counted] = {}
        self.speaks_of_batches = any(rule.operation == "batch" for rule in rules)
        """Whether a rule for all callers does; of callers with limits of their own ask `counts_batches`."""

    def take(
        self, principal: Principal, client_ip: str, operation: Operation, model: str | None
    ) -> Decision | Awaitable[Decision | None] | None:
        """Count a call, or refuse it. None: no rule speaks of it, or nothing is counted while the store is away.

        `batch` asks the rules for batches alone: the call has been counted as `predict` before it was read.
        """
        if model not in self._named:
            model = None  # names that no rule has come from outside, and there is no end of them
        known = self._known.get((id(principal), client_ip, operation, model))
        if known is None or known.principal is not principal:
            known = self._counted(principal, client_ip, operation, model)
        _, keys, rates = known
        if not keys:
            return None
        answer = self._store.take(keys, rates)
        if isinstance(answer, tuple):
            self._decided(operation, principal.kind, answer[0])
            return self._decision(rates, answer)
        return self._later(rates, answer, operation, principal)

    def counts_batches(self, principal: Principal) -> bool:
        """Whether a call of this caller has to be asked about a second time, once it is known to have several rows."""
        return self.speaks_of_batches or any(limit.operation == "batch" for limit in principal.limits)

    async def _later(
        self, rates: Sequence[Rate], pending: Awaitable[Answer], operation: Operation, principal: Principal
    ) -> Decision | None:
        answer = await pending
        self._decided(operation, principal.kind, answer.allowed)
        return self._decision(rates, answer)

    def _decision(self, rates: Sequence[Rate], answer: Answer) -> Decision | None:
        if isinstance(answer, Unavailable):
            return None if answer.allowed else Decision(False, 0, 0, 0, answer.retry_after_s, counted=False)
        passes, now, windows = answer
        if len(windows) == 1:  # the most usual
            ((used, latest),) = windows
            limit = rates[0][0]
            least = limit - used
        else:
            limit, least, latest = _tightest(windows, rates, now)
        wait_s = (latest - now) / 1_000_000
        reset = ceil(self._now() + wait_s)
        if passes:
            return allowed(limit, least if least > 0 else 0, reset)
        return Decision(allowed=False, limit=limit, remaining=0, reset_unix_s=reset, retry_after_s=max(1, ceil(wait_s)))

    def _counted(self, principal: Principal, client_ip: str, operation: Operation, model: str | None) -> _Counted:
        plan = self._plan_of(principal, operation, model)
        keys = [f"{name}/{_identity(by, principal, client_ip)}" for name, by in zip(plan.names, plan.bys, strict=True)]
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        known = _Counted(principal, tuple(keys), plan.rates)
        self._known[id(principal), client_ip, operation, model] = known
        return known

    def _plan_of(self, principal: Principal, operation: Operation, model: str | None) -> _Plan:
        if principal.limits:
            return _plan(*self._of(principal, operation, model))
        plan = self._plans.get((principal.kind, operation, model))
        if plan is None:
            plan = self._plans[principal.kind, operation, model] = _plan(*self._of(principal, operation, model))
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


def _tightest(windows: Sequence[tuple[int, int]], rates: Sequence[Rate], now: int) -> tuple[int, int, int]:
    """Of the window that leaves the least: its limit, what is left, and when its oldest call leaves it."""
    limit, least, latest = 0, -1, now
    for (used, leaves), rate in zip(windows, rates, strict=True):
        left = max(rate.limit - used, 0)
        if least < 0 or left < least or (left == least and leaves > latest):
            limit, least, latest = rate.limit, left, leaves
    return limit, least, latest


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
