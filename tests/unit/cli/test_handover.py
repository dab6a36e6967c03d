"""What kubectl has applied before and a file no longer has. That it goes is tested in tests/contract/test_moor_apply.py."""

import json
from typing import Any

import pytest

from moorage.cli.handover import LAST_APPLIED, merged, removed_since_kubectl


def noted(**last: Any) -> dict[str, Any]:
    return {"metadata": {"name": "cats", "annotations": {LAST_APPLIED: json.dumps(last)}}}


def test_what_was_removed_at_any_depth_is_a_null_in_its_place_and_a_list_is_one_value() -> None:
    last = {
        "spec": {"a": 1, "b": {"c": 2, "d": 3}, "items": [1, 2]},
        "metadata": {"name": "x", "labels": {"team": "sea", "tier": "gold"}},
    }
    now = {"spec": {"a": 5, "b": {"d": 3}, "items": [1]}, "metadata": {"name": "cats", "labels": {"team": "air"}}}
    assert removed_since_kubectl(noted(**last), now) == {
        "spec": {"b": {"c": None}},
        "metadata": {"labels": {"tier": None}},
    }


@pytest.mark.parametrize(
    "live",
    [
        None,
        {"metadata": {"name": "cats"}},
        {"metadata": {"name": "cats", "annotations": {LAST_APPLIED: "{not json"}}},
        {"metadata": {"name": "cats", "annotations": {LAST_APPLIED: "[]"}}},
        noted(spec={"a": 1}, metadata={"namespace": "demo", "annotations": {}}),
    ],
    ids=["new", "never by kubectl", "not JSON", "no object", "nothing removed"],
)
def test_where_nothing_was_removed_there_is_nothing_to_take_over(live: dict[str, Any] | None) -> None:
    assert removed_since_kubectl(live, {"spec": {"a": 1}, "metadata": {"name": "cats"}}) == {}


def test_all_labels_taken_out_go_and_nothing_else_of_the_metadata() -> None:
    last = noted(spec={}, metadata={"name": "cats", "labels": {"team": "sea"}})
    assert removed_since_kubectl(last, {"metadata": {"name": "cats"}}) == {"metadata": {"labels": {"team": None}}}


def test_a_patch_is_laid_over_a_document_field_by_field() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": None}, "e": 3}) == {
        "a": {"b": 1, "c": None},
        "d": [1],
        "e": 3,
    }
