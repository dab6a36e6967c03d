"""A pydantic error -> the sentence that the API server says about the same mistake.

`moor up` and `kubectl apply` judge the same file by the same rules; a user who knows the one message must not have to
learn a second. The wording follows apiextensions-apiserver, and the contract tests compare the two for every rule.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from moorage.api.v1alpha1 import RULE_ERROR, ModelDeployment

_UNKNOWN = "unknown field"


@dataclass(frozen=True, order=True)
class Cause:
    """One mistake: the field in YAML notation and what is wrong with it."""

    field: str
    message: str

    @property
    def unknown(self) -> bool:
        """Whether there is no such field."""
        return self.message == _UNKNOWN

    def __str__(self) -> str:
        return f'{_UNKNOWN} "{self.field}"' if self.unknown else f"{self.field}: {self.message}"


def causes(error: ValidationError) -> list[Cause]:
    """All mistakes that `error` tells of, in the API server's words and order of fields.

    Args:
        error: what `ModelDeployment.model_validate(document)` raised.
    """
    found: dict[Cause, None] = {}
    for item in _without_union_branches(error.errors(include_url=False, include_input=True)):
        path = _path(item["loc"])
        if item["type"] == RULE_ERROR:
            for rule in item["ctx"]["broken"]:
                found[Cause(path or "<nil>", f'Invalid value: "{rule.of}": {rule.message}')] = None
        else:
            found[Cause(path, _message(path, item))] = None
    return sorted(found)


def _without_union_branches(items: list[Any]) -> list[Any]:
    """An integer-or-string field fails once for each of the two; what people need is the one that says most."""
    parents = Counter(item["loc"][:-1] for item in items if item["loc"] and item["loc"][-1] in _UNION_BRANCHES)
    by_field: dict[tuple[int | str, ...], list[Any]] = {}
    for item in items:
        loc = item["loc"]
        branch = loc and loc[-1] in _UNION_BRANCHES and parents[loc[:-1]] > 1  # else it is a key of that name
        by_field.setdefault(loc[:-1] if branch else loc, []).append({**item, "loc": loc[:-1]} if branch else item)
    chosen: list[Any] = []
    for group in by_field.values():
        telling = [item for item in group if item["type"] not in ("string_type", "int_type", "int_from_float")]
        both = len(group) > 1 and not telling
        chosen += [{**group[0], "type": "int_or_string_type"}] if both else telling or group
    return chosen


_UNION_BRANCHES = frozenset({"str", "int", "constrained-str", "constrained-int"})


def check(document: Any) -> ModelDeployment:
    """Parse and judge one document.

    Raises:
        InvalidDeploymentError: with all mistakes.
    """
    try:
        return ModelDeployment.model_validate(document)
    except ValidationError as error:
        metadata = document.get("metadata") if isinstance(document, dict) else None
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        raise InvalidDeploymentError(str(name), causes(error)) from None


class InvalidDeploymentError(ValueError):
    """A document that is no valid ModelDeployment."""

    def __init__(self, name: str, mistakes: list[Cause]) -> None:
        self.name = name
        self.mistakes = mistakes
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f'The ModelDeployment "{self.name}" is invalid:'
        if len(self.mistakes) == 1:
            return f"{head} {self.mistakes[0]}"
        return "\n".join([head, *(f"* {mistake}" for mistake in self.mistakes)])


def _path(loc: tuple[int | str, ...]) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def _message(path: str, item: Any) -> str:
    kind, given, context = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "missing":
        return "Required value"
    if kind == "extra_forbidden":
        return _UNKNOWN
    if kind == "literal_error":
        supported = ", ".join(
            json.dumps(word.strip().strip("'")) for word in context["expected"].replace(" or ", ", ").split(", ")
        )
        return f"Unsupported value: {_shown(given)}: supported values: {supported}"
    bound = {
        "greater_than_equal": ("ge", "greater than or equal to"),
        "less_than_equal": ("le", "less than or equal to"),
    }.get(kind)
    if bound:
        return f"Invalid value: {_shown(given)}: {path} in body should be {bound[1]} {context[bound[0]]:.10g}"
    if kind == "string_too_long":
        return f"Too long: may not be more than {context['max_length']} bytes"
    if kind == "string_too_short":
        return f"Invalid value: {_shown(given)}: {path} in body should be at least {context['min_length']} chars long"
    if kind == "too_long":
        return f"Too many: {len(given)}: must have at most {context['max_length']} items"
    if kind == "too_short":
        return f"Invalid value: {len(given)}: {path} in body should have at least {context['min_length']} items"
    wanted = _WANTED.get(kind)
    if wanted:
        return f"Invalid value: {_shown(_type_name(given))}: {path} in body must be of type {wanted}: {_shown(_type_name(given))}"
    return f"Invalid value: {item['msg']}"


_WANTED = {
    "string_type": "string",
    "int_or_string_type": "integer,string",
    "int_type": "integer",
    "int_from_float": "integer",
    "bool_type": "boolean",
    "float_type": "number",
    "list_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
}


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return {str: "string", int: "integer", float: "number", list: "array", dict: "object"}.get(type(value), "string")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
