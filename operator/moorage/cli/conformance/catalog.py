"""`cases/*.yaml` -> every `Case`. Called once by `run.py` and by whoever parametrises tests with the cases.

section file + tables.yaml -> for_each filled in -> the section's level, reference and extension put in -> Case
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeVar

import yaml
from pydantic import ValidationError

from moorage.cli.conformance.vocabulary import Case, Section

SECTIONS: Final = (
    "server",
    "health",
    "metadata",
    "v1",
    "v2-json",
    "v2-binary",
    "datatypes",
    "shapes",
    "outputs",
    "parameters",
    "versions",
    "compression",
    "errors",
    "limits",
    "repository",
    "statistics",
    "config",
    "trace",
    "logging",
    "classification",
    "raw-body",
    "grpc",
    "grpc-repository",
    "robustness",
)
"""In the order of the report: first whether it is there at all, last what may hurt it."""

_Model = TypeVar("_Model", Case, Section)
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")


class CatalogError(ValueError):
    """A case file that says something outside the vocabulary."""


@cache
def sections() -> Mapping[str, Section]:
    """Name -> section, in the order of the report.

    Raises:
        CatalogError: a file is not what the vocabulary allows.
    """
    return {name: _parsed(Section, _read(name), f"{name}.yaml") for name in SECTIONS}


@cache
def cases() -> tuple[Case, ...]:
    """Every case, in the order of the report.

    Raises:
        CatalogError: a file is not what the vocabulary allows, or an id stands twice.
    """
    found: dict[str, Case] = {}
    for name, section in sections().items():
        for written in section.cases:
            for case in _cases(name, section, written):
                if case.id in found:
                    raise CatalogError(
                        f"{name}.yaml: {case.id}: there is a case of that id in {found[case.id].section}.yaml"
                    )
                found[case.id] = case
    return tuple(found.values())


def _cases(name: str, section: Section, written: dict[str, Any]) -> Iterator[Case]:
    shared = {
        "section": name,
        **{key: getattr(section, key) for key in ("level", "reference", "extension", "probe", "announced")},
    }
    rows = written.get("for_each", [{}])
    for row in _tables()[rows] if isinstance(rows, str) else rows:
        filled = fill({key: value for key, value in written.items() if key != "for_each"}, row)
        filled["id"] = str(filled.get("id", "")).lower()
        yield _parsed(Case, {**shared, **filled}, f"{name}.yaml: {filled['id']}")


def fill(value: Any, words: Mapping[str, Any]) -> Any:
    """`value` with each {word} filled in. A string that is nothing but one {word} becomes its value, of whatever type."""
    if isinstance(value, str):
        whole = _PLACEHOLDER.fullmatch(value)
        if whole and whole[1] in words:
            return words[whole[1]]
        return _PLACEHOLDER.sub(lambda match: str(words.get(match[1], match[0])), value)
    if isinstance(value, Mapping):
        return {fill(key, words): fill(item, words) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(item, words) for item in value]
    return value


@cache
def _tables() -> Mapping[str, list[dict[str, Any]]]:
    return _read("tables")  # type: ignore[no-any-return]


def _read(name: str) -> Any:
    try:
        return yaml.load((files("moorage.cli.conformance") / "cases" / f"{name}.yaml").read_bytes(), Loader=_LOADER)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        raise CatalogError(f"{name}.yaml: {error}") from error


def _parsed(model: type[_Model], value: Any, where: str) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise CatalogError(f"{where}: {error}") from error
