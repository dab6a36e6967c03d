"""`--column NAME=TYPE[,min=N][,max=N][,enum=A|B|C][,default=V][,nullable][,unseen=default]` -> a feature. Called by `load.py`.

The same as a JSON object, `{"name": ..., "type": ..., ...}`, is what the operator writes: it may hold any character.
"""

import json
from typing import Any, Final

from pydantic import ValidationError

from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular.schema import Feature

_KEYS: Final = ("min", "max", "enum", "default", "unseen")


def feature_of(text: str) -> Feature:
    """The feature that one option describes.

    Raises:
        LoadFailed: it describes none.
    """
    where = f"--column {text[:80]}"
    if text.startswith("{") and text.endswith("}"):
        return _feature(_of_json(text, where), where)
    name, found, rest = text.rpartition("=") if "," not in text else _split(text)
    if not found or not name:
        raise LoadFailed(where, "expected NAME=TYPE[,min=N][,max=N][,enum=A|B][,default=V][,nullable][,unseen=default]")
    kind, *words = rest.split(",")
    stated: dict[str, Any] = {"name": name, "type": kind}
    for word in words:
        key, _, value = word.partition("=")
        if word == "nullable":
            stated["nullable"] = True
        elif key not in _KEYS or not value:
            raise LoadFailed(
                where, f"expected {', '.join(f'{one}=...' for one in _KEYS)} or nullable, found {word[:40]!r}"
            )
        elif key == "enum":
            stated["enum"] = [_value(kind, one) for one in value.split("|")]
        else:
            stated[key] = _value(kind, value) if key == "default" else value
    return _feature(stated, where)


def _of_json(text: str, where: str) -> dict[str, Any]:
    try:
        stated: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoadFailed(where, f"not readable JSON: {error}") from error
    kind = stated.get("type", "number")
    if isinstance(listed := stated.get("enum"), list):
        stated["enum"] = [_value(kind, one) for one in listed]
    if "default" in stated:
        stated["default"] = _value(kind, stated["default"])
    return stated


def _feature(stated: dict[str, Any], where: str) -> Feature:
    try:
        return Feature.model_validate(stated)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise LoadFailed(
            where, f"{place}{': ' if place else ''}{first['msg'].removeprefix('Value error, ')}"
        ) from error


def _split(text: str) -> tuple[str, str, str]:
    """Name, "=", the rest: the name may hold "=" and the rest begins with the type."""
    head, comma, tail = text.partition(",")
    name, found, kind = head.rpartition("=")
    return name, found, f"{kind}{comma}{tail}"


def _value(kind: object, text: object) -> Any:
    """For a column of strings the text, also of a number's digits; of the other types JSON's word that the text is."""
    if kind == "string":
        return str(text) if type(text) is int else text
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
