"""What the limits say of one call, and how it is told: three headers on each answer, a fourth on a refusal. Made by `Limiter`;
written by `asgi.py` and by the predictor's gRPC service.
"""

# ruff: noqa: N818 - named for the answers that they become

from typing import Any, ClassVar, Final, NamedTuple

from moorage.access.errors import AccessError

LIMIT: Final = b"x-ratelimit-limit"
REMAINING: Final = b"x-ratelimit-remaining"
RESET: Final = b"x-ratelimit-reset"
RETRY_AFTER: Final = b"retry-after"
_tuple: Final[Any] = tuple.__new__


class Decision(NamedTuple):
    """Of the rule that leaves the least; of a refused call, the one that refuses it the longest."""

    allowed: bool
    limit: int
    """Calls in one window."""
    remaining: int
    """Calls that would be let through right now."""
    reset_unix_s: int
    """When the oldest call leaves the window, and there is room for one more than now."""
    retry_after_s: int
    """Of a refused call, how long to wait; else 0."""
    counted: bool = True
    """False: the store does not answer, and calls are refused until it does."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of the answer, also of an error's."""
        if not self.counted:
            return [(RETRY_AFTER, b"%d" % self.retry_after_s)]
        found = [
            (LIMIT, b"%d" % self.limit),
            (REMAINING, b"%d" % self.remaining),
            (RESET, b"%d" % self.reset_unix_s),
        ]
        if not self.allowed:
            found.append((RETRY_AFTER, b"%d" % self.retry_after_s))
        return found

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The same for gRPC."""
        return tuple([(name.decode(), value.decode()) for name, value in self.headers()])

    def reason(self) -> str:
        """Of a refusal, for the caller."""
        if not self.counted:
            return f"the rate limits cannot be checked now; try again in {self.retry_after_s} s"
        return f"the rate limit of {self.limit} calls is reached; try again in {self.retry_after_s} s"


def allowed(limit: int, remaining: int, reset_unix_s: int) -> Decision:
    """Of a call that is let through. As `Decision(...)`, in half the time."""
    return _tuple(Decision, (True, limit, remaining, reset_unix_s, 0, True))  # type: ignore[no-any-return]


class RateLimited(AccessError):
    """429, or RESOURCE_EXHAUSTED: the caller has made as many calls as it may."""

    status: ClassVar[int] = 429
    code: ClassVar[str] = "RESOURCE_EXHAUSTED"


class LimitsAway(AccessError):
    """503, or UNAVAILABLE: nobody can tell how many calls the caller has made, and the choice is to refuse."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "UNAVAILABLE"


def refusal(decision: Decision) -> AccessError:
    """What a refused call is answered."""
    error = RateLimited(decision.reason()) if decision.counted else LimitsAway(decision.reason())
    error.headers = tuple(decision.headers())
    return error


def tighter(one: Decision | None, other: Decision | None) -> Decision | None:
    """Of two answers to one call, the one that leaves less."""
    if one is None or other is None:
        return one or other
    if one.allowed != other.allowed:
        return other if one.allowed else one
    return other if other.remaining < one.remaining else one
