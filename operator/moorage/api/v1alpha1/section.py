"""What every part of the resource is built from: a strict pydantic model with rules that two judges share.

A `Rule` states one cross-field condition twice, as the CEL that the API server evaluates and as the Python that `moor`
evaluates; `crd.py` puts the first into the CRD, `Section` runs the second. The contract tests hold both to one table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

RULE_ERROR = "moorage_rule"


@dataclass(frozen=True)
class Rule:
    """One `x-kubernetes-validations` entry and its twin in Python.

    `check` gets the section; for a transition rule (`cel` speaks of `oldSelf`) it gets the new and the old value.
    """

    cel: str
    message: str
    check: Callable[..., bool]
    field_path: str = ""

    @property
    def transition(self) -> bool:
        """Whether the rule compares with the object's former state, so that it holds for updates only."""
        return "oldSelf" in self.cel


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
    def _null_means_absent(cls, value: Any) -> Any:
        """As the API server does: a null for a field that is not nullable is pruned before defaults are set."""
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return value

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        broken = [rule for rule in self.rules if not rule.transition and not rule.check(self)]
        if broken:
            raise PydanticCustomError(
                RULE_ERROR, "{text}", {"text": "; ".join(r.message for r in broken), "broken": broken}
            )
        return self


def seconds(duration: str) -> float:
    """A duration such as `300ms`, `30s`, `5m` or `2h`, in seconds."""
    for unit, scale in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if duration.endswith(unit):
            return int(duration.removesuffix(unit)) * scale
    raise ValueError(f"expected a number with ms, s, m or h, got {duration!r}")


Duration = Annotated[str, Field(max_length=10, pattern=r"^[1-9][0-9]{0,5}(ms|s|m|h)$")]
"""One number with one unit, for instance `5m`."""

DnsName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""The name of another Kubernetes object, always in the same namespace."""

__all__ = ["NOT_YET", "RULE_ERROR", "DnsName", "Duration", "NotYetSupported", "Rule", "Section", "seconds"]
