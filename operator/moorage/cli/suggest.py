"""For a field that nobody knows, the one that was perhaps meant: a near name in its place, or its name in another place."""

import difflib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from moorage.api.crd import custom_resource_definition
from moorage.api.messages import Cause

_INDEX = re.compile(r"\[\d+\]")


def meant(mistake: Cause) -> str | None:
    """The path of the field that was perhaps meant; None where the mistake is another one, or nothing is near."""
    if not mistake.unknown:
        return None
    place, _, name = _INDEX.sub("[]", mistake.field).rpartition(".")
    fields = _fields()
    beside = {path.rpartition(".")[2]: path for path in fields if path.rpartition(".")[0] == place}
    lower = {known.lower(): path for known, path in beside.items()}
    if near := difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.75):
        return lower[near[0]]
    elsewhere = [path for path in fields if path.rpartition(".")[2].lower() == name.lower()]
    return elsewhere[0] if len(elsewhere) == 1 else None


@cache
def _fields() -> tuple[str, ...]:
    [version] = custom_resource_definition()["spec"]["versions"]
    return tuple(_below(version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec"))


def _below(schema: Any, path: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from _below(field, f"{path}.{name}")
    if "items" in schema:
        yield from _below(schema["items"], f"{path}[]")
