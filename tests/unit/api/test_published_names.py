"""Names that scripts, dashboards and people rely on: reasons, metrics, exit codes, the public surface."""

import re
from pathlib import Path

import pytest

from moorage.api import ExitCode, conditions, metrics
from moorage.api.conditions import ABNORMAL, REASONS, TYPES

OPERATOR = Path(conditions.__file__).parents[2]
CONSTANTS = {name: value for name, value in vars(conditions).items() if isinstance(value, conditions.Reason)}


def constants_named_outside(module: Path) -> set[str]:
    """By their text, since parsing every module takes seconds."""
    texts = [path.read_text() for path in OPERATOR.rglob("*.py") if path != module]
    return {word for text in texts for word in re.findall(r"\b[A-Z][A-Z_]+\b", text)}


def test_reasons_are_unique_camel_case_words() -> None:
    names = [reason.name for reason in REASONS]
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"([A-Z]+[a-z]+)+", name)] == []


def test_every_reason_belongs_to_a_condition_and_says_what_it_means_and_what_to_do() -> None:
    for reason in REASONS:
        assert reason.types, reason
        assert set(reason.types) <= {*TYPES, *ABNORMAL}, reason
        assert reason.meaning.endswith("."), reason
        assert reason.remedy.endswith("."), reason


def test_every_reason_is_used() -> None:
    assert set(CONSTANTS) - constants_named_outside(Path(conditions.__file__)) == set()


def test_every_condition_has_a_reason_for_being_true() -> None:
    assert {kind for reason in REASONS if reason.remedy == "Nothing." for kind in reason.types} == set(TYPES)


@pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_named_by_its_noun_and_unit(metric: metrics.Metric) -> None:
    assert re.fullmatch(r"moorage(_[a-z0-9]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    if metric.kind == "histogram":
        assert metric.name.endswith(("_seconds", "_rows"))
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)
    assert metric.help.endswith(".")


def test_metric_names_are_unique() -> None:
    names = [metric.name for metric in metrics.METRICS]
    assert len(names) == len(set(names))


def test_exit_codes_are_small_and_explained() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "INTERNAL": 1,
        "INVALID_INPUT": 2,
        "UNAVAILABLE": 3,
        "UNFINISHED": 4,
    }
    assert all(code.meaning.endswith(".") for code in ExitCode)
    assert ExitCode(2) is ExitCode.INVALID_INPUT
