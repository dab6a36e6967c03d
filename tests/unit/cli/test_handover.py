"""What kubectl has applied before and a file no longer has. That it goes is tested in tests/contract/test_moor_apply.py."""

import json
from typing import Any

import pytest
from tests.unit.cli.mock_busy_cluster import MockBusyCluster

from moorage.cli.handover import LAST_APPLIED, TRIES, apply, handed_over, merged, removed_since_kubectl
from moorage.cli.kube import KubeError

BY_KUBECTL = {"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": {"f:spec": {}}}


def noted(**last: Any) -> dict[str, Any]:
    return annotated(json.dumps(last))


def annotated(text: str) -> dict[str, Any]:
    return {"metadata": {"name": "cats", "annotations": {LAST_APPLIED: text}, "managedFields": [BY_KUBECTL]}}


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
        annotated("{not json"),
        annotated("[]"),
        noted(spec={"a": 1}, metadata={"namespace": "demo", "annotations": {}}),
    ],
    ids=["new", "never by kubectl", "not JSON", "no object", "nothing removed"],
)
def test_where_nothing_was_removed_there_is_nothing_to_take_over(live: dict[str, Any] | None) -> None:
    assert removed_since_kubectl(live, {"spec": {"a": 1}, "metadata": {"name": "cats"}}) == {}


@pytest.mark.parametrize(
    "manager", [{"manager": "kubectl", "operation": "Apply"}, {**BY_KUBECTL, "subresource": "status"}]
)
def test_where_the_fields_are_another_managers_by_now_the_annotation_is_of_the_past(manager: dict[str, Any]) -> None:
    live = noted(spec={"a": 1})
    live["metadata"]["managedFields"] = [manager]
    assert removed_since_kubectl(live, {"spec": {}}) == {}


def test_all_labels_taken_out_go_and_nothing_else_of_the_metadata() -> None:
    last = noted(spec={}, metadata={"name": "cats", "labels": {"team": "sea"}})
    assert removed_since_kubectl(last, {"metadata": {"name": "cats"}}) == {"metadata": {"labels": {"team": None}}}


def test_a_patch_is_laid_over_a_document_field_by_field() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": None}, "e": 3}) == {
        "a": {"b": 1, "c": None},
        "d": [1],
        "e": 3,
    }


def test_kubectls_fields_become_ours_and_nobody_elses() -> None:
    kubectl = {
        "manager": "kubectl-client-side-apply",
        "operation": "Update",
        "fieldsV1": {"f:spec": {"f:a": {}, "f:b": {}}},
    }
    by_hand = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:c": {}}}}
    of_status = {**kubectl, "subresource": "status"}
    ours = {"manager": "moor", "operation": "Apply", "time": "then", "fieldsV1": {"f:spec": {"f:a": {}, "f:d": {}}}}
    first = {**kubectl, "manager": "moor", "operation": "Apply"}
    assert handed_over([kubectl, by_hand, of_status]) == [first, by_hand, of_status]
    both = {**ours, "fieldsV1": {"f:spec": {"f:a": {}, "f:d": {}, "f:b": {}}}}
    assert handed_over([by_hand, kubectl, ours]) == [both, by_hand]
    assert handed_over([by_hand, ours]) is None


def test_who_meets_the_operators_write_tries_again_and_not_for_ever() -> None:
    busy = MockBusyCluster(conflicts=2)
    apply(busy, "/path", {"metadata": {"name": "cats"}}, busy.get("/path"))
    assert busy.calls == ["merge at 1", "merge at 2", "merge at 3", "apply"]
    busy = MockBusyCluster(conflicts=TRIES)
    with pytest.raises(KubeError, match="has been modified"):
        apply(busy, "/path", {"metadata": {"name": "cats"}}, busy.get("/path"))
    assert "apply" not in busy.calls
