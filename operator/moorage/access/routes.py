"""What a path asks of its caller: a role, and for which operation and model it counts. The tables are the servers' own; what
is in none of them needs a caller all the same, and whoever adds a route without a role gives it to administrators alone.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from moorage.access.principal import Role

Operation = Literal["predict", "batch", "manage"]

_MOST_KNOWN: Final = 1024
_LONGEST_KNOWN: Final = 256
"""Paths that are remembered, and the characters of one; more come only from those who make them up."""


class Rule(NamedTuple):
    """One row of a server's table."""

    method: str
    path: str
    """With `{name}` for a model, and other words in braces for what is no model; neither holds a slash or a colon."""
    role: Role | None
    """None: open to all."""
    operation: Operation | None
    """None: not counted."""


class Route(NamedTuple):
    """What one request asks for."""

    role: Role | None
    operation: Operation | None
    model: str | None


UNKNOWN: Final = Route("read", "manage", None)
"""Of no table. The caller learns that there is no such path, and strangers do not."""


class Routes:
    """A server's table."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [(rule, pattern_of(rule.path)) for rule in rules]
        self._known: dict[tuple[str, str], Route] = {}

    def find(self, method: str, path: str) -> Route:
        """The route of `scope["method"]` and `scope["path"]`. HEAD is GET's."""
        found = self._known.get((method, path))
        return self._look(method, path) if found is None else found

    def _look(self, method: str, path: str) -> Route:
        route = UNKNOWN
        for rule, pattern in self._rules:
            if rule.method == ("GET" if method == "HEAD" else method) and (match := pattern.fullmatch(path)):
                route = Route(rule.role, rule.operation, match.groupdict().get("name"))
                break
        if len(path) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[(method, path)] = route
        return route


def pattern_of(path: str) -> re.Pattern[str]:
    """What a `Rule.path` matches. Servers find their handlers by it too: no path may be one route here and another there."""
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/:]+)", re.escape(path)))
