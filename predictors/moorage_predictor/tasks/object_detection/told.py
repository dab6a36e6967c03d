"""What a model file says of itself, in Ultralytics' words: class names and the input's size. Read by `runners.py`.

It writes them into ONNX as Python text, and into TorchScript archives as JSON.
"""

import ast
import json
from collections.abc import Mapping
from typing import Any, Final

_MOST_SIDE: Final = 4096
_MOST_WORDS: Final = 1 << 20


class Told:
    """What a model file says of itself."""

    def __init__(self, words: Mapping[str, Any], size: tuple[int, int] | None = None, rows: int | None = None) -> None:
        self.names = _names(words.get("names"))
        self.size = size or _size(words.get("imgsz"))
        """Height and width of the input."""
        self.rows = rows
        """Of a batch, if only so many will do."""


def words(text: Any) -> Mapping[str, Any]:
    """Ultralytics' JSON; nothing if it is none."""
    try:
        found = json.loads(text) if 0 < len(text) < _MOST_WORDS else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _names(stated: Any) -> tuple[str, ...] | None:
    """Of a dictionary from numbers to names, which Ultralytics writes as Python text into ONNX."""
    found = _literal(stated)
    if isinstance(found, list):
        found = dict(enumerate(found))
    if not isinstance(found, dict) or not found:
        return None
    try:
        numbered = {int(number): str(name) for number, name in found.items()}
    except (TypeError, ValueError):
        return None
    return (
        tuple(numbered[number] for number in range(len(numbered)))
        if set(numbered) == set(range(len(numbered)))
        else None
    )


def _size(stated: Any) -> tuple[int, int] | None:
    found = _literal(stated)
    sides = [found, found] if type(found) is int else found
    if (
        isinstance(sides, (list, tuple))
        and len(sides) == 2
        and all(type(s) is int and 0 < s <= _MOST_SIDE for s in sides)
    ):
        return sides[0], sides[1]
    return None


def _literal(stated: Any) -> Any:
    if not isinstance(stated, str):
        return stated
    try:
        return ast.literal_eval(stated) if len(stated) < _MOST_WORDS else None
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
