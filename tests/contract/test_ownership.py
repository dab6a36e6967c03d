"""What belongs to whom: strangers' children, the controller's own fields, deletion in every order, a webhook that is down."""

import socket
import time
from typing import Any

import pytest
from tests.contract.controller_process import USER, ControllerProcess
from tests.contract.deployments import apply
from tests.control_plane.client import Api, ApiError, condition, eventually
from tests.control_plane.plane import Cluster, ControlPlane

from moorage.render import OWNER_LABEL

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve", "controller")]

KINDS = ("ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "ServingRuntime", "InferenceService")


def ready(api: Api, namespace: str, name: str = "cats") -> bool:
    return condition(api.get("ModelDeployment", namespace, name), "Ready").get("status") == "True"


def accepted(api: Api, namespace: str) -> tuple[str, str]:
    found = condition(api.get("ModelDeployment", namespace, "cats"), "Accepted")
    return found.get("reason", ""), found.get("message", "")


def test_a_strangers_service_of_our_name_and_with_our_label_is_neither_taken_over_nor_deleted(
    api: Api, namespace: str
) -> None:
    container = {"name": "kserve-container", "image": "example.com/theirs:1"}
    stranger = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "cats", "namespace": namespace, "labels": {OWNER_LABEL: "cats"}},
        "spec": {"predictor": {"containers": [container]}},
    }
    api.create(stranger)
    apply(api, namespace)
    eventually(lambda: accepted(api, namespace)[0] == "Conflict")
    assert "InferenceService cats exists and does not belong" in accepted(api, namespace)[1]
    time.sleep(2)
    live = api.get("InferenceService", namespace, "cats")
    assert live["spec"]["predictor"]["containers"][0]["image"] == "example.com/theirs:1"
    assert [entry["manager"] for entry in live["metadata"]["managedFields"] if entry["manager"] == "moorage"] == []
    api.delete("ModelDeployment", namespace, "cats")
    eventually(lambda: api.get("ServiceAccount", namespace, "cats-predictor") is None, timeout_s=60)
    assert api.get("InferenceService", namespace, "cats")["metadata"]["uid"] == live["metadata"]["uid"]


def test_two_of_which_one_has_the_name_of_the_others_children_have_nothing_in_common(api: Api, namespace: str) -> None:
    for name in ("cats", "cats-predictor"):
        apply(api, namespace, name)
    eventually(lambda: ready(api, namespace, "cats") and ready(api, namespace, "cats-predictor"), timeout_s=60)
    urls = {api.get("ModelDeployment", namespace, name)["status"]["url"] for name in ("cats", "cats-predictor")}
    assert len(urls) == 2
    for kind in KINDS[:2] + KINDS[3:]:
        owners = [
            each["metadata"]["ownerReferences"][0]["name"] for each in api.list(kind, namespace, labels=OWNER_LABEL)
        ]
        assert sorted(owners) == ["cats", "cats-predictor"]


def test_of_two_that_kserve_gives_one_url_the_first_keeps_it_and_the_second_says_whose_it_is(
    api: Api, namespace: str
) -> None:
    """KServe's host is `NAME-NAMESPACE`: `cats` in `b-c` and `cats-b` in `c` have the same."""
    c = namespace.removeprefix("t-")
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": c}})
    try:
        apply(api, namespace, "cats")
        eventually(lambda: ready(api, namespace, "cats"), timeout_s=60)
        time.sleep(1.1)  # objects have their age in whole seconds
        apply(api, c, "cats-t")

        def said(where: str, name: str) -> tuple[str, str]:
            found = condition(api.get("ModelDeployment", where, name), "Ready")
            return found.get("reason", ""), found.get("message", "")

        eventually(lambda: said(c, "cats-t")[0] == "RouteConflict", timeout_s=60)
        assert f"belongs to {namespace}/cats, which had it first" in said(c, "cats-t")[1]
        assert ready(api, namespace, "cats")
        api.delete("ModelDeployment", namespace, "cats")
        eventually(lambda: ready(api, c, "cats-t"), timeout_s=60)
    finally:
        api.delete("Namespace", None, c)


EDITS: dict[str, dict[str, Any]] = {
    "ServiceAccount": {"automountServiceAccountToken": True},
    "NetworkPolicy": {"spec": {"policyTypes": ["Ingress"], "egress": None}},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": 2}},
    "ServingRuntime": {"spec": {"containers": [{"name": "kserve-container", "image": "example.com/theirs:1"}]}},
    "InferenceService": {"spec": {"predictor": {"minReplicas": 5, "maxReplicas": 5}}},
}


def test_a_child_of_any_kind_that_somebody_edits_gets_our_fields_back_and_keeps_theirs(
    api: Api, namespace: str
) -> None:
    apply(api, namespace, scaling={"minReplicas": 2, "maxReplicas": 3})
    eventually(lambda: ready(api, namespace), timeout_s=60)
    names = {kind: "cats" if kind == "InferenceService" else "cats-predictor" for kind in KINDS}
    before = {kind: api.get(kind, namespace, name) for kind, name in names.items()}
    for kind, name in names.items():
        theirs = {"metadata": {"annotations": {"example.com/owner": "sea"}, "labels": {"team": "sea"}}}
        edited = api.patch(kind, namespace, name, {**theirs, **EDITS[kind]})
        assert any(edited.get(key) != before[kind].get(key) for key in EDITS[kind]), kind
    for kind, name in names.items():
        eventually(
            lambda kind=kind, name=name: all(
                api.get(kind, namespace, name).get(key) == before[kind].get(key) for key in EDITS[kind]
            )
        )
        metadata = api.get(kind, namespace, name)["metadata"]
        assert metadata["annotations"]["example.com/owner"] == metadata["labels"]["team"] == "sea"
        assert metadata["uid"] == before[kind]["metadata"]["uid"], "mended, not made anew"


@pytest.mark.parametrize(
    ("edit", "field", "writer"),
    [
        ({"spec": {"policyTypes": ["Ingress"]}}, ".spec.policyTypes", "the field manager 'moorage-tests'"),
        ({"metadata": {"labels": {OWNER_LABEL: None}}}, f".metadata.labels.{OWNER_LABEL}", "somebody"),
    ],
    ids=["field", "label"],
)
def test_a_rival_that_writes_a_field_back_each_time_is_named_answered_ever_more_seldom_and_forgotten_once_it_has_gone(
    api: Api, namespace: str, control_plane: Cluster, edit: dict[str, Any], field: str, writer: str
) -> None:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("a lent cluster has no audit log that we can read")
    apply(api, namespace)
    eventually(lambda: ready(api, namespace), timeout_s=60)
    mark = control_plane.audit.mark()
    until = time.monotonic() + 8
    while time.monotonic() < until:
        api.patch("NetworkPolicy", namespace, "cats-predictor", edit)
        labels = {"team": f"sea-{time.monotonic_ns()}"}
        metadata = {"name": "cats-predictor", "namespace": namespace, "labels": labels}
        labelled = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata}
        api.apply(labelled, field_manager="a-bystander")
        time.sleep(0.05)
    answers = [
        each
        for each in control_plane.audit.writes(since=mark, namespace=namespace)
        if (each.user, each.resource, each.code) == (USER, "networkpolicies", 200)
    ]
    assert 4 <= len(answers) <= 6, "three at once, then after 2, 4, 8 s"
    reason, words = accepted(api, namespace)
    assert reason == "Contested"
    assert f"NetworkPolicy cats-predictor: {writer} writes {field} each time" in words
    assert not ready(api, namespace)
    eventually(lambda: ready(api, namespace), timeout_s=60)
    live = api.get("NetworkPolicy", namespace, "cats-predictor")
    assert live["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert live["metadata"]["labels"][OWNER_LABEL] == "cats"


def webhook(namespace: str, url: str, timeout_s: int) -> dict[str, Any]:
    """One that is asked before an InferenceService of that namespace is written."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"down-{namespace}"},
        "webhooks": [
            {
                "name": "down.example.com",
                "clientConfig": {"url": url},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "timeoutSeconds": timeout_s,
                "admissionReviewVersions": ["v1"],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [
                    {
                        "apiGroups": ["serving.kserve.io"],
                        "apiVersions": ["*"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["inferenceservices"],
                    }
                ],
            }
        ],
    }


def in_force(api: Api, namespace: str) -> bool:
    """Whether the API server asks that webhook already: it learns of it by a watch of its own."""
    container = {"name": "kserve-container", "image": "example.com/probe:1"}
    probe = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "probe", "namespace": namespace},
        "spec": {"predictor": {"containers": [container]}},
    }
    try:
        api.request("POST", api.path("InferenceService", namespace), probe, dryRun="All", timeout="2s")
    except ApiError as error:
        return error.status >= 500
    return False


def test_a_webhook_that_hangs_is_told_in_the_condition(api: Api, namespace: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it lets everybody connect, and says nothing
        api.create(webhook(namespace, f"https://127.0.0.1:{silent.getsockname()[1]}/", 30))
        try:
            eventually(lambda: in_force(api, namespace))
            apply(api, namespace)
            # told after the second time that the API server gave up, each 5 s
            eventually(lambda: accepted(api, namespace)[0] == "ApplyFailed", timeout_s=60)
            assert "webhook" in accepted(api, namespace)[1]
        finally:
            api.delete("ValidatingWebhookConfiguration", None, f"down-{namespace}")
        eventually(lambda: ready(api, namespace), timeout_s=60)


def test_a_webhook_that_is_down_is_told_in_the_condition_and_stops_no_deletion(api: Api, namespace: str) -> None:
    api.create(webhook(namespace, "https://127.0.0.1:1/", 2))
    try:
        eventually(lambda: in_force(api, namespace))
        apply(api, namespace)
        eventually(lambda: accepted(api, namespace)[0] == "ApplyFailed")
        assert "failed calling webhook" in accepted(api, namespace)[1]
        apply(api, namespace, "dogs")
        api.delete("ModelDeployment", namespace, "dogs")
        eventually(lambda: api.get("ModelDeployment", namespace, "dogs") is None)
    finally:
        api.delete("ValidatingWebhookConfiguration", None, f"down-{namespace}")
    eventually(lambda: ready(api, namespace), timeout_s=60)


@pytest.mark.parametrize(
    ("patch", "subresource", "words"),
    [
        ({"status": {"url": "http://evil.example.com"}}, "status", "only Moorage's controller writes it"),
        ({"metadata": {"annotations": {"kopf.zalando.org/last-handled-configuration": "{bad"}}}, "", "is reserved"),
        ({"metadata": {"finalizers": ["moorage.dev/finalizer"]}}, "", "nobody would take them away"),
        ({"metadata": {"finalizers": ["kopf.zalando.org/KopfFinalizerMarker"]}}, "", "nobody would take them away"),
    ],
    ids=["status", "annotation", "finalizer", "kopfs-finalizer"],
)
def test_what_belongs_to_the_controller_is_written_by_nobody_else(
    api: Api, namespace: str, patch: dict[str, Any], subresource: str, words: str
) -> None:
    apply(api, namespace)
    with pytest.raises(ApiError) as error:
        eventually_refused(api, namespace, patch, subresource)
    assert error.value.status == 422
    assert words in error.value.message


def eventually_refused(api: Api, namespace: str, patch: dict[str, Any], subresource: str) -> None:
    """A policy that was made moments ago is not yet everywhere."""
    for _ in range(50):
        api.patch("ModelDeployment", namespace, "cats", patch, subresource=subresource)
        time.sleep(0.1)


def test_what_belongs_to_people_is_theirs_and_a_policy_stops_no_deletion(api: Api, namespace: str) -> None:
    apply(api, namespace)
    theirs = {"annotations": {"moorage.dev/default-for": "images", "team": "sea"}, "finalizers": ["example.com/mine"]}
    api.patch("ModelDeployment", namespace, "cats", {"metadata": theirs})
    api.delete("ModelDeployment", namespace, "cats")
    api.patch("ModelDeployment", namespace, "cats", {"metadata": {"finalizers": None}})
    eventually(lambda: api.get("ModelDeployment", namespace, "cats") is None)


def test_what_is_deleted_while_it_is_being_made_leaves_nothing(api: Api, namespace: str) -> None:
    for index in range(10):
        apply(api, namespace, f"brief-{index}")
        time.sleep(index * 0.02)
        api.delete("ModelDeployment", namespace, f"brief-{index}")
    eventually(lambda: not any(api.list(kind, namespace, labels=OWNER_LABEL) for kind in KINDS), timeout_s=60)


def test_a_namespace_that_is_deleted_goes_with_all_that_is_in_it(api: Api, namespace: str) -> None:
    name = f"{namespace}-going"
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for index in range(3):
        apply(api, name, f"cats-{index}")
    eventually(lambda: api.get("InferenceService", name, "cats-0"))
    api.delete("Namespace", None, name)
    eventually(lambda: api.get("Namespace", None, name) is None, timeout_s=60)


def test_a_log_line_says_which_object_it_is_about(
    api: Api, namespace: str, controller: ControllerProcess, control_plane: Cluster
) -> None:
    import json

    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    lines = [json.loads(line) for line in controller.log().splitlines() if line.startswith("{")]
    [accepted_line] = [
        line
        for line in lines
        if line.get("namespace") == namespace and line.get("condition") == "Accepted" and line.get("status") == "True"
    ]
    assert (accepted_line["name"], accepted_line["generation"], accepted_line["reason"]) == ("cats", 1, "Accepted")
