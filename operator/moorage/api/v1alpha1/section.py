"""What every part of the resource is built from: a strict pydantic model with rules that two judges share.

A `Rule` states one cross-field condition twice, as the CEL that the API server evaluates and as the Python that `moor`
evaluates; `crd.py` puts the first into the CRD, `Section` runs the second. The contract tests hold both to one table.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from moorage.api.label_value import LABEL_VALUE

RULE_ERROR = "moorage_rule"


@dataclass(frozen=True)
class Rule:
    """One `x-kubernetes-validations` entry and its twin in Python.

    `check` gets the section; for a transition rule (`cel` speaks of `oldSelf`) it gets the new and the old value.
    """

    cel: str
    message: str
    check: Callable[..., bool]
    of: str = "object"
    """The type that the API server names when the rule is broken; empty for an integer-or-string."""

    @property
    def transition(self) -> bool:
        """Whether the rule compares with the object's former state, so that it holds for updates only."""
        return "oldSelf" in self.cel


def broken(rules: list[Rule]) -> PydanticCustomError:
    """The error that carries rules to `messages.py`."""
    return PydanticCustomError(
        RULE_ERROR, "{text}", {"text": "; ".join(rule.message for rule in rules), "broken": rules}
    )


class Obeys:
    """A field's metadata: its value alone must obey a rule, in Python and in the CRD."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Judge the value after its type is known."""
        return core_schema.no_info_after_validator_function(self._judge, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Put the rule where the CRD generator finds it."""
        return {
            **handler(schema),
            "x-kubernetes-validations": [{"rule": self._rule.cel, "message": self._rule.message}],
        }

    def _judge(self, value: Any) -> Any:
        if not self._rule.check(value):
            raise broken([self._rule])
        return value


def matching(pattern: str, message: str) -> Obeys:
    """The metadata of a string of one form. A bare `pattern` would show the user a regular expression; a rule has words.

    Args:
        pattern: in the common subset of RE2 and `re`, matched against the whole string.
        message: what was expected, with an example.
    """
    compiled = re.compile(pattern)
    return Obeys(
        Rule(f"self.matches(r'^({pattern})$')", message, lambda value: compiled.fullmatch(value) is not None, "string")
    )


class NotYetSupported:
    """Marks a field that the schema knows and nothing acts on yet: no default, and any value is answered, never ignored."""


NOT_YET = NotYetSupported()


class Section(BaseModel):
    """An object inside the resource. Field names are camelCase in YAML; unknown fields and wrong types are errors."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        hide_input_in_errors=True,
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_like_the_api_server(cls, value: Any) -> Any:
        """A null is pruned before defaults are set, and 3.0 is an integer, also in a list."""
        if not isinstance(value, dict):
            return value
        return {
            key: [_whole(one) for one in item] if isinstance(item, list) else _whole(item)
            for key, item in value.items()
            if item is not None
        }

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        failed = [rule for rule in self.rules if not rule.transition and not rule.check(self)]
        if failed:
            raise broken(failed)
        return self


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def seconds(duration: str) -> float:
    """A duration such as `300ms`, `30s`, `5m` or `2h`, in seconds."""
    for unit, scale in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if duration.endswith(unit):
            return int(duration.removesuffix(unit)) * scale
    raise ValueError(f"expected a number with ms, s, m or h, got {duration!r}")


Duration = Annotated[
    str,
    Field(max_length=8),
    matching(r"[1-9][0-9]{0,5}(ms|s|m|h)", "expected one number with ms, s, m or h, for instance 300ms or 5m"),
]
"""One number with one unit."""

DnsName = Annotated[
    str,
    Field(max_length=253),
    matching(
        r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?",
        "expected the name of an object of this namespace: lower-case letters, digits, '-' and '.'",
    ),
]
"""The name of another Kubernetes object, always in the same namespace."""

VersionLabel = Annotated[
    str,
    Field(max_length=63),
    matching(LABEL_VALUE, "expected letters, digits, '.', '_' and '-', for instance 1.2.0"),
]
"""A label for a version of weights."""

__all__ = [
    "NOT_YET",
    "RULE_ERROR",
    "DnsName",
    "Duration",
    "NotYetSupported",
    "Obeys",
    "Rule",
    "Section",
    "VersionLabel",
    "matching",
    "seconds",
]
