"""What `moor explain` makes of objects as a cluster has them. The reading itself is in tests/contract/test_explain.py."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console
from tests.builders import stored

from moorage.cli.explain.cause import cause
from moorage.cli.explain.command import document
from moorage.cli.explain.gather import Found
from moorage.cli.explain.screen import picture
from moorage.cli.explain.tree import age, tree
from moorage.controller.observe import Observed
from moorage.controller.predictor import predictor_verdict
from moorage.render import OWNER_LABEL, POD_HASH

AT = {"observedGeneration": 1, "lastTransitionTime": "2026-01-02T03:02:05Z"}
WANTED = {POD_HASH: "latest"}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def conditions(**words: str) -> dict[str, Any]:
    """Ready="False/OutOfMemory" and so on."""
    items = [(kind, *text.split("/")) for kind, text in words.items()]
    made = [
        {"type": kind, "status": status, "reason": reason, "message": f"{kind} says so", **AT}
        for kind, status, reason in items
    ]
    return {"conditions": made}


def body(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "demo", "uid": f"uid-of-{name}", "generation": 1}, **more}


def pod(name: str, *, ready: bool = False, **status: Any) -> dict[str, Any]:
    said = [{"type": "Ready", "status": str(ready)}]
    return body(name, status={"phase": "Running", "conditions": said, **status})


def killed(name: str) -> dict[str, Any]:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    container = {"name": "kserve-container", "ready": False, "restartCount": 4, "state": {}, "lastState": ended}
    limits = {"limits": {"memory": "2Gi"}}
    spec = {"containers": [{"name": "kserve-container", "resources": limits}]}
    return {**pod(name, containerStatuses=[container]), "spec": spec}


def changed(pod: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """The same pod with more metadata."""
    return {**pod, "metadata": {**pod["metadata"], **metadata}}


def evicted(name: str) -> dict[str, Any]:
    """Ended by its node, and kept."""
    said = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    return changed(body(name, status=said), annotations=WANTED)


def event(name: str, message: str, kind: str = "Warning", reason: str = "BackOff", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"creationTimestamp": "2026-01-02T03:02:05Z"},
        "involvedObject": {"uid": f"uid-of-{name}"},
        "type": kind,
        "reason": reason,
        "message": message,
        **more,
    }


def world(*pods: dict[str, Any], deployment: dict[str, Any] | None = None, **words: str) -> Found:
    """A ModelDeployment with those conditions, and everything below it."""
    said = {"Accepted": "True/Accepted", "PredictorReady": "False/Deploying", "Ready": "False/Deploying", **words}
    model = {**stored(), "status": {**conditions(**said), "observedGeneration": 1}}
    said_by_kserve = conditions(PredictorReady="False/MinimumReplicasUnavailable", Ready="False/No")
    service = body("cats", spec={"predictor": {"annotations": WANTED}}, status=said_by_kserve)
    spec = {"replicas": 2, "template": {"metadata": {"annotations": WANTED}}}
    made = body("cats-predictor", spec=spec, status={"readyReplicas": 1, "observedGeneration": 1, **(deployment or {})})
    return Found(model, service, made, list(pods))


def shown(found: Found, *, colour: bool = False) -> str:
    why = cause(found, NOW)
    file = io.StringIO()
    console = Console(file=file, width=160, force_terminal=colour, color_system="standard" if colour else None)
    console.print(picture(tree(found, why, NOW), why, found.unread, NOW))
    return file.getvalue()


def test_the_whole_tree_is_drawn_and_the_cause_marked_with_its_limit_and_what_to_do() -> None:
    found = world(pod("a", ready=True), killed("b"), PredictorReady="False/OutOfMemory", Ready="False/OutOfMemory")
    found.events["uid-of-b"] = [event("b", "Back-off restarting failed container", count=7)]
    assert shown(found).splitlines() == [
        "✗ ModelDeployment cats  OutOfMemory for 2m",
        "└── ✗ InferenceService cats  KServe says: No: Ready says so",
        "    ├── PredictorReady: MinimumReplicasUnavailable: PredictorReady says so",
        "    └── … Deployment cats-predictor  1 of 2 copies ready, 0 with the latest change",
        "        ├── ✓ Pod a  ready",
        "        └── ✗ Pod b  OutOfMemory  ◀ the cause",
        "            ├── container kserve-container was killed for using more memory than its limit of 2Gi (restarted 4 times)",
        "            ├── what to do: raise spec.predictor.resources.limits.memory",
        "            └── event 2m ago, BackOff (7 times): Back-off restarting failed container",
        "cause: Pod b: OutOfMemory",
        "  container kserve-container was killed for using more memory than its limit of 2Gi (restarted 4 times)",
        "what to do: raise spec.predictor.resources.limits.memory",
        "every reason: docs/reference/conditions.md",
    ]


def test_a_model_that_is_ready_has_no_cause() -> None:
    found = world(pod("a", ready=True), PredictorReady="True/Serving", RoutesReady="True/Routed", Ready="True/Ready")
    assert cause(found, NOW) is None
    assert "cause" not in shown(found)


def test_a_copy_that_fails_beside_good_ones_is_a_cause_too() -> None:
    found = world(pod("a", ready=True), killed("b"), PredictorReady="True/Degraded", Ready="True/Degraded")
    why = cause(found, NOW)
    assert why is not None
    assert (why.kind, why.name, why.reason) == ("Pod", "b", "OutOfMemory")


@pytest.mark.parametrize(
    "model",
    [
        stored(),
        {**stored(generation=2), "status": {**conditions(Ready="True/Ready"), "observedGeneration": 1}},
    ],
    ids=["never", "not the latest edit"],
)
def test_an_operator_that_has_not_looked_is_the_cause(model: dict[str, Any]) -> None:
    why = cause(Found(model), NOW)
    assert why is not None
    assert (why.kind, why.reason, why.fix) == (
        "ModelDeployment",
        "NotLookedAt",
        "see that the operator runs, and its log",
    )


NO_NODE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
LATEST = changed(body("latest", status={"phase": "Pending", "conditions": [NO_NODE]}), annotations=WANTED)
ENDING = changed(killed("ending"), annotations=WANTED, deletionTimestamp="2026-01-02T03:04:00Z")
QUOTA = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: few"}]}


@pytest.mark.parametrize(
    ("pods", "deployment", "who"),
    [
        ([LATEST, changed(killed("former"), annotations={POD_HASH: "former"})], {}, "latest"),
        ([LATEST, evicted("kept")], {}, "latest"),
        ([LATEST, ENDING], {}, "latest"),
        ([evicted("kept")], QUOTA, "cats-predictor"),
        ([evicted("kept")], {}, "kept"),
    ],
    ids=["a pod of the former change", "one evicted and kept", "one that is going", "a quota", "nothing else"],
)
def test_the_cause_is_the_one_that_the_operator_names_beside(
    pods: list[dict[str, Any]], deployment: dict[str, Any], who: str
) -> None:
    found = world(*pods, deployment=deployment)
    why = cause(found, NOW)
    assert why is not None
    assert why.name == who
    service, made = found.inference_service, found.deployment
    assert service is not None
    assert made is not None
    service["metadata"]["labels"] = {OWNER_LABEL: "cats"}
    verdict = predictor_verdict(Observed({"InferenceService": [service]}, [made], pods), None, NOW)
    assert (verdict.reason.name, why.message in verdict.message, why.fix in verdict.message) == (why.reason, True, True)


@pytest.mark.parametrize(
    ("wanted", "seen", "who"),
    [("a later one", 1, ("InferenceService", "cats")), ("latest", 0, ("Deployment", "cats-predictor"))],
    ids=["KServe", "the Deployment's controller"],
)
def test_while_nobody_has_acted_on_the_latest_change_the_pods_before_it_are_not_the_cause(
    wanted: str, seen: int, who: tuple[str, str]
) -> None:
    found = world(killed("b"), deployment={"observedGeneration": seen}, PredictorReady="False/Deploying")
    assert found.inference_service is not None
    found.inference_service["spec"]["predictor"]["annotations"] = {POD_HASH: wanted}
    why = cause(found, NOW)
    assert why is not None
    assert (why.kind, why.name, why.reason, why.message) == (*who, "Deploying", "PredictorReady says so")


def test_a_copy_that_was_evicted_is_not_blamed_for_routes_that_are_missing() -> None:
    good = changed(pod("a", ready=True), annotations=WANTED)
    found = world(evicted("kept"), good, PredictorReady="True/Serving", Ready="False/WaitingForRoutes")
    why = cause(found, NOW)
    assert why is not None
    assert (why.kind, why.reason) == ("InferenceService", "WaitingForRoutes")


def test_a_pod_that_is_going_is_not_what_is_waited_for() -> None:
    why = cause(world(changed(pod("a"), deletionTimestamp="2026-01-02T03:04:00Z")), NOW)
    assert why is not None
    assert why.kind == "InferenceService"


def test_a_deployment_that_somebody_has_scaled_to_0_is_the_cause_whatever_ended_before() -> None:
    why = cause(world(evicted("kept"), PredictorReady="False/ScaledToZero", Ready="False/ScaledToZero"), NOW)
    assert why is not None
    assert (why.kind, why.name, why.message) == ("Deployment", "cats-predictor", "PredictorReady says so")


def test_what_was_refused_before_any_pod_is_the_cause_with_its_remedy() -> None:
    why = cause(world(killed("b"), Accepted="False/Conflict", Ready="False/Conflict"), NOW)
    assert why is not None
    assert (why.kind, why.reason) == ("ModelDeployment", "Conflict")
    assert why.fix.startswith("Rename the ModelDeployment")


def test_a_quota_that_lets_no_pod_be_made_is_told_at_the_deployment() -> None:
    words = 'pods "x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1'
    refused = {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": words}]}
    found = world(deployment=refused, Ready="False/PodsRefused")
    why = cause(found, NOW)
    assert why is not None
    assert (why.kind, why.name) == ("Deployment", "cats-predictor")
    assert "limited: pods=1" in why.message
    assert why.fix == "raise the ResourceQuota, or lower spec.predictor.resources or spec.scaling"
    assert shown(found).count(words) == 2, "once in the tree and once below it"


def test_a_pod_that_is_only_loading_is_what_is_waited_for() -> None:
    running = {"name": "kserve-container", "ready": False, "state": {"running": {}}}
    found = world(pod("a", containerStatuses=[running]))
    why = cause(found, NOW)
    assert why is not None
    assert (why.kind, why.name, why.reason) == ("Pod", "a", "Deploying")
    assert "`kubectl logs a` shows how far it is" in shown(found)


def test_what_may_not_be_read_is_told_and_the_rest_is_shown() -> None:
    found = world(Ready="False/Deploying")
    hidden = Found(found.model_deployment, None, None, [], {}, ("InferenceServices", "pods"))
    said = shown(hidden)
    assert "- InferenceService cats  you may not read InferenceServices" in said
    assert "- Deployment cats-predictor  there is none yet" in said
    assert "you may not read InferenceServices, pods: the tree is without them" in said


def test_a_cluster_without_a_controller_of_kserve_is_asked_about() -> None:
    found = world()
    found.inference_service.pop("status")  # type: ignore[union-attr]
    assert "KServe has said nothing yet: is its controller running?" in shown(found)


def test_good_objects_tell_only_of_warnings() -> None:
    found = world(pod("a", ready=True))
    found.events["uid-of-a"] = [
        event("a", "Started container", "Normal", "Started"),
        event("a", "Readiness probe failed"),
    ]
    assert "Started" not in shown(found)
    assert "Readiness probe failed" in shown(found)


def test_the_operators_own_events_only_repeat_its_conditions() -> None:
    found = world(killed("b"))
    found.events["uid-1"] = [event("cats", "Ready=False: so it is", source={"component": "moorage"})]
    assert "so it is" not in shown(found)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("2026-01-02T03:04:00Z", "5s"),
        ("2026-01-02T02:59:05Z", "5m"),
        ("2026-01-01T23:04:05+01:00", "5h"),
        ("2025-12-01T00:00:00Z", "32d"),
        ("2027-01-01T00:00:00Z", "0s"),
        ("2026-01-01T00:00:00", ""),
        ("", ""),
    ],
)
def test_ages_are_short(at: str, words: str) -> None:
    assert age(at, NOW) == words


def test_only_the_latest_events_are_shown() -> None:
    found = world(killed("b"))
    found.events["uid-of-b"] = [event("b", f"number {i}") for i in range(9)]
    said = shown(found)
    assert [f"number {i}" in said for i in range(9)] == [False] * 5 + [True] * 4


def test_colour_is_for_terminals_and_others_words_cannot_command_one() -> None:
    found = world(killed("b"), Ready="False/OutOfMemory")
    found.events["uid-of-b"] = [event("b", "evil \x1b[2J\x07 [bold]words[/bold]")]
    assert "\x1b[1;31m" in shown(found, colour=True)
    assert "\x1b" not in shown(found)
    assert "\x1b[2J" not in shown(found, colour=True)
    assert "[bold]words[/bold]" in shown(found)


def test_programs_get_the_same_as_a_document() -> None:
    found = world(killed("b"), PredictorReady="False/OutOfMemory", Ready="False/OutOfMemory")
    why = cause(found, NOW)
    made = json.loads(json.dumps(document(found, tree(found, why, NOW), why)))
    assert (made["ready"], made["reason"], made["cause"]["name"]) == (False, "OutOfMemory", "b")
    [service] = made["tree"]["children"]
    [deployment] = service["children"]
    assert [(node["kind"], node["cause"]) for node in deployment["children"]] == [("Pod", True)]
