"""What a caller may ask of one detection: how sure, how much overlap, which classes, how many. Read by `wire/detection.py`."""

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from moorage_predictor.errors import InvalidInput

MOST_DETECTIONS: Final = 1000
"""In one picture; each costs a line of the answer."""
NAMES: Final = ("confidence", "iou", "classes", "max_detections")
_SHOWN: Final = 60
_MOST_LETTERS: Final = 100_000
"""Of a list of classes as text."""


@dataclass(frozen=True)
class Options:
    """Of one request."""

    confidence: float = 0.25
    """Boxes with a score of this or less are left out."""
    iou: float = 0.5
    """Of two boxes of one class that overlap by more than this, the less sure one is left out."""
    max_detections: int = 100
    classes: frozenset[int] | None = None
    """Others are left out before they are counted; None: none is."""

    def changed(self, given: Mapping[str, Any], names: Sequence[str]) -> "Options":
        """These with what a request gives; `names` are those of the model's classes. Other keys are not looked at.

        Raises:
            InvalidInput: a value is not what it should be.
        """
        changes: dict[str, Any] = {key: _share(key, given[key]) for key in ("confidence", "iou") if key in given}
        if "max_detections" in given:
            changes["max_detections"] = _count(given["max_detections"])
        if "classes" in given:
            changes["classes"] = _classes(given["classes"], names)
        return replace(self, **changes) if changes else self


def _share(key: str, given: Any) -> float:
    number = _number(given)
    if not 0 <= number <= 1:  # nor is NaN
        raise InvalidInput(f"{key}: expected a number from 0 to 1, found {_short(given)}")
    return number


def _count(given: Any) -> int:
    number = _number(given)
    if not 1 <= number <= MOST_DETECTIONS or number != int(number):
        raise InvalidInput(f"max_detections: expected an integer from 1 to {MOST_DETECTIONS}, found {_short(given)}")
    return int(number)


def _number(given: Any) -> float:
    """Also of text, because some gRPC clients have no other parameters; NaN of what is no number."""
    if type(given) not in (int, float, str):
        return math.nan
    if type(given) is str and (len(given) > _SHOWN or "_" in given):  # Python's own way to write numbers
        return math.nan
    try:
        return float(given)
    except (ValueError, OverflowError):
        return math.nan


def _classes(given: Any, names: Sequence[str]) -> frozenset[int]:
    """Of a list of numbers and names, or of the same as text: separated by commas, or in JSON."""
    if type(given) is str:
        if len(given) > _MOST_LETTERS:
            raise InvalidInput(f"classes: expected at most {_MOST_LETTERS} letters, found {len(given)}")
        try:
            listed = (
                json.loads(given) if given.lstrip().startswith("[") else [part.strip() for part in given.split(",")]
            )
        except (ValueError, RecursionError):
            listed = given
        given = listed
    if type(given) is not list or not given or len(given) > len(names):
        raise InvalidInput(f"classes: expected 1 to {len(names)} numbers or names of classes, found {_short(given)}")
    numbers = {name: number for number, name in enumerate(names)}
    return frozenset(_class(item, numbers, len(names)) for item in given)


def _class(item: Any, numbers: Mapping[str, int], count: int) -> int:
    if type(item) is str and item in numbers:
        return numbers[item]
    number = int(item) if type(item) is str and item.isascii() and item.isdigit() and len(item) < 10 else item
    if type(number) is int and 0 <= number < count:
        return number
    close = difflib.get_close_matches(item, numbers, n=3) if type(item) is str and len(item) <= _SHOWN else []
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    raise InvalidInput(
        f"classes: expected names of this model, or numbers from 0 to {count - 1}, found {_short(item)}{hint}"
    )


def _short(value: object) -> str:
    try:
        text = repr(value[:_SHOWN] if isinstance(value, (str, list)) else value)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes, or lists in lists
        return "what is too long to be shown"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
