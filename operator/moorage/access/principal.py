"""The caller of a request, once it is known. Made by `keys.py` and `jwt.py`; read by the rate limits, the request log and
the routes, which find it in `scope["moorage.principal"]`.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, NamedTuple

Role = Literal["read", "read-write", "admin"]
ROLES: Final[tuple[Role, ...]] = ("read", "read-write", "admin")
"""From the least to the most; each may do what those before it may."""
PRINCIPAL: Final = "moorage.principal"
"""In an ASGI scope: the `Principal`."""


class Limit(NamedTuple):
    """A caller's own rate limit, which counts instead of the general one for the same operation."""

    requests: int
    """That are let through in one window."""
    per: Literal["second", "minute", "hour", "day"]
    operation: Literal["predict", "batch", "manage"] | None = None
    """None for all of them."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. Equal callers are one object for as long as their credentials are known to be good."""

    id: str
    """The key's id or the token's subject. Never a secret; what is logged and counted."""
    kind: Literal["key", "jwt", "anonymous"]
    role: Role
    models: tuple[str, ...] | None = None
    """Patterns (`*` and `?`) of the models that it may ask; None for all of them."""
    limits: tuple[Limit, ...] = ()
    """Empty: the general ones hold."""
    tenant: str | None = None
    """Whose limit is counted, where several keys share one: a rotated key is the same tenant. None: the caller's own id."""

    def may(self, role: Role) -> bool:
        """Whether this caller's role has what `role` has."""
        return role in (self.role, "read") or self.role == "admin"

    def may_ask(self, model: str) -> bool:
        """Whether this caller may ask that model."""
        return self.models is None or any(fnmatchcase(model, pattern) for pattern in self.models)


ANONYMOUS: Final = Principal("anonymous", "anonymous", "read")
"""Whoever asks what is open to all, and everybody where access is not configured."""


def principal_of(scope: Any) -> Principal:
    """The caller of a request in an ASGI scope."""
    found: Principal | None = scope.get(PRINCIPAL)
    return ANONYMOUS if found is None else found
