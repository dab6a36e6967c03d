from typing import Any

import pytest
from tests.builders import model_deployment

from moorage.api.support import not_yet_supported

MARKED = {
    "spec.rollout": {"rollout": {"strategy": "rolling"}},
    "spec.variants": {"variants": [{"name": "a", "weight": 50}, {"name": "b", "weight": 50}]},
    "spec.cache": {"cache": {"ttl": "5m"}},
    "spec.monitoring": {"monitoring": {"dashboard": False}},
    "spec.predictor.gpu": {"predictor": {"gpu": {"count": 1}}},
    "spec.predictor.placement": {"predictor": {"placement": {}}},
}
VALUES = {
    "spec.predictor.runtime": (
        {"predictor": {"runtime": "custom"}},
        "custom",
        "torch, torchserve",
    ),
    "spec.scaling.scaleMetric": ({"scaling": {"scaleMetric": "rps"}}, "rps", "cpu, memory"),
}


def test_the_default_asks_for_nothing_that_is_missing() -> None:
    assert not_yet_supported(model_deployment()) == []


@pytest.mark.parametrize(("path", "changes"), MARKED.items(), ids=MARKED)
def test_a_marked_field_is_answered_even_if_it_asks_for_nothing(path: str, changes: dict[str, Any]) -> None:
    assert not_yet_supported(model_deployment(**changes)) == [f"{path} is not supported yet: remove it"]


@pytest.mark.parametrize(("path", "case"), VALUES.items(), ids=VALUES)
def test_a_value_that_nothing_acts_on_is_answered_with_those_that_work(path: str, case: tuple[Any, str, str]) -> None:
    changes, value, known = case
    assert not_yet_supported(model_deployment(**changes)) == [f"{path}: {value} is not supported yet: use {known}"]


@pytest.mark.parametrize("metric", ["cpu", "memory"])
def test_the_metrics_of_the_autoscaler_are_supported(metric: str) -> None:
    assert not_yet_supported(model_deployment(scaling={"scaleMetric": metric})) == []


def test_scaling_to_zero_is_refused_and_not_ignored() -> None:
    found = not_yet_supported(model_deployment(scaling={"minReplicas": 0, "scaleToZeroAfter": "5m"}))
    assert found == [
        "spec.scaling.scaleToZeroAfter is not supported yet: remove it",
        "spec.scaling.minReplicas: 0 is not supported yet: use 1 or more",
    ]


def test_all_of_it_is_told_at_once() -> None:
    found = not_yet_supported(model_deployment(cache={"ttl": "1s"}, predictor={"gpu": {"count": 1}}))
    assert [text.split()[0] for text in found] == ["spec.predictor.gpu", "spec.cache"]
