"""Is an answer what a case expects? Every function returns the first difference in words, or None.

A matcher is JSON: an object's keys must be there and match, more may be; a list must match item by item; and

    <string> <text> <integer> <number> <boolean> <list> <object> <any>    a value of that kind; <text> is not empty
    {$every: M}   a list whose items all match       {$contains: M}   a list of which one item matches
    {$any: [M]}   one of several                     {$absent: KEY}   an object without that key
    {$least: N}   a number, N or more
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

_KINDS: Final[dict[str, Callable[[Any], bool]]] = {
    "<string>": lambda value: isinstance(value, str),
    "<text>": lambda value: isinstance(value, str) and bool(value.strip()),
    "<integer>": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "<number>": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "<boolean>": lambda value: isinstance(value, bool),
    "<list>": lambda value: isinstance(value, list),
    "<object>": lambda value: isinstance(value, dict),
    "<any>": lambda value: True,
}

_INSIDES: Final = (
    (re.compile(r"Traceback|\bFile \"|\bline \d+, in \b|goroutine \d+"), "a traceback"),
    (
        re.compile(r"<class '|NoneType|\bdict_keys\b|object at 0x|\bdtype\(|\b[A-Z]\w*(Error|Exception)\b"),
        "a type of the program",
    ),
    (
        re.compile(
            r"(?<![\w.])/(usr|home|opt|root|tmp|var|work|app|srv|mnt)/\S+|site-packages|\w\.(py|cc|cpp|go|rs)\b"
        ),
        "a path",
    ),
)


def unlike(matcher: Any, found: Any, path: str = "") -> str | None:
    """The first place where `found` does not match."""
    where = path or "the answer"
    if isinstance(matcher, str) and matcher in _KINDS:
        return None if _KINDS[matcher](found) else f"{where}: expected {matcher[1:-1]}, found {short(found)}"
    if isinstance(matcher, dict) and len(matcher) == 1 and next(iter(matcher)).startswith("$"):
        [(word, inner)] = matcher.items()
        return _OPERATORS[word](inner, found, where)
    if isinstance(matcher, dict):
        if not isinstance(found, dict):
            return f"{where}: expected an object, found {short(found)}"
        for key, inner in matcher.items():
            if key not in found:
                return f"{where}: {key} is missing in {short(found)}"
            if said := unlike(inner, found[key], f"{path}.{key}".lstrip(".")):
                return said
        return None
    if isinstance(matcher, list):
        if not isinstance(found, list) or len(found) != len(matcher):
            return f"{where}: expected {short(matcher)}, found {short(found)}"
        pairs = enumerate(zip(matcher, found, strict=True))
        return _first(unlike(inner, item, f"{path}[{index}]") for index, (inner, item) in pairs)
    same = found == matcher and isinstance(found, bool) == isinstance(matcher, bool)
    return None if same else f"{where}: expected {short(matcher)}, found {short(found)}"


def _every(inner: Any, found: Any, where: str) -> str | None:
    if not isinstance(found, list):
        return f"{where}: expected a list, found {short(found)}"
    return _first(unlike(inner, item, f"{where}[{index}]") for index, item in enumerate(found))


def _contains(inner: Any, found: Any, where: str) -> str | None:
    if isinstance(found, list) and any(unlike(inner, item) is None for item in found):
        return None
    return f"{where}: expected a list with {short(inner)}, found {short(found)}"


def _any(inner: Any, found: Any, where: str) -> str | None:
    if any(unlike(choice, found) is None for choice in inner):
        return None
    return f"{where}: expected one of {short(inner)}, found {short(found)}"


def _absent(inner: Any, found: Any, where: str) -> str | None:
    if isinstance(found, dict) and inner not in found:
        return None
    return f"{where}: expected an object without {inner}, found {short(found)}"


def _least(inner: Any, found: Any, where: str) -> str | None:
    if isinstance(found, (int, float)) and not isinstance(found, bool) and found >= inner:
        return None
    return f"{where}: expected {inner} or more, found {short(found)}"


_OPERATORS: Final[dict[str, Callable[[Any, Any, str], str | None]]] = {
    "$every": _every,
    "$contains": _contains,
    "$any": _any,
    "$absent": _absent,
    "$least": _least,
}


def _first(said: Iterable[str | None]) -> str | None:
    return next((each for each in said if each), None)


def error_text(body: bytes) -> str | None:
    """The text of a body {"error": TEXT}; None for any other body."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    text = document.get("error") if isinstance(document, dict) else None
    return text if isinstance(text, str) and text.strip() else None


def insides(text: str) -> str | None:
    """What of the program's inside a message shows, which helps nobody but an attacker."""
    return next((f"{what} in {text[:160]!r}" for pattern, what in _INSIDES if pattern.search(text)), None)


def short(value: Any) -> str:
    """A value in at most a few words."""
    try:
        text = value if isinstance(value, str) and value.startswith("<") else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
