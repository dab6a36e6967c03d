from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.builders import model_deployment

from moorage.api import conditions as c
from moorage.controller.observe import Observed
from moorage.controller.status import Judged, evaluate
from moorage.render import POD_HASH, Capabilities, Refusal, missing, render

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(minutes=7)
READY = [{"type": "PredictorReady", "status": "True"}, {"type": "IngressReady", "status": "True"}]
WAITING = [{"type": "PredictorReady", "status": "False", "message": "Minimum replicas unavailable"}]
URL = "http://cats.demo.example.com"
FAILURE = Refusal(c.INVALID_SPEC, "spec.model: Required value")


def service(conditions: list[dict[str, Any]] | None = None, **status: Any) -> dict[str, Any]:
    """The InferenceService as rendered, with a status of KServe's."""
    made = render(model_deployment())[-1]
    made["metadata"]["generation"] = 5
    return {**made, "status": {"conditions": conditions or [], **status}}


def pod(*containers: dict[str, Any], name: str = "cats-1", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **more.pop("metadata", {})}, "status": {"containerStatuses": containers, **more}}


def good(name: str = "cats-1", **more: Any) -> dict[str, Any]:
    """A pod that answers."""
    return pod(name=name, conditions=[{"type": "Ready", "status": "True"}], **more)


def container(state: dict[str, Any], *, name: str = "kserve-container", **more: Any) -> dict[str, Any]:
    return {"name": name, "ready": False, "image": "predictor:1", "state": state, **more}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def looked_at(**changes: Any) -> Judged:
    return Judged(**{"name": "cats", "generation": 3, "version": "1", **changes})


def judged(*pods: dict[str, Any], isvc: dict[str, Any] | None = None, **changes: Any) -> dict[str, dict[str, Any]]:
    """The conditions by type; where there is an InferenceService there is KServe's Deployment too, without fault."""
    children = {"InferenceService": [isvc]} if isvc else {}
    observed = Observed(children=children, deployments=[kserves_deployment()] if isvc else [], pods=list(pods))
    status = evaluate(looked_at(**changes), observed, {}, NOW)
    return {item["type"]: item for item in status["conditions"]}


def reasons(found: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {kind: (item["status"], item["reason"]) for kind, item in found.items()}


def test_at_first_everything_is_on_its_way() -> None:
    assert reasons(judged()) == {
        "Accepted": ("True", "Accepted"),
        "PredictorReady": ("False", "Deploying"),
        "RoutesReady": ("False", "WaitingForRoutes"),
        "Ready": ("False", "Deploying"),
        "Reconciling": ("True", "Deploying"),
    }


def test_a_deployment_that_kserve_works_on_is_deploying_and_names_its_pods() -> None:
    found = judged(pod(name="cats-a"), pod(name="cats-b"), isvc=service(WAITING))
    assert found["PredictorReady"]["reason"] == "Deploying"
    assert found["PredictorReady"]["message"] == "Minimum replicas unavailable; pods: cats-a, cats-b"
    assert found["Ready"]["message"] == "PredictorReady: Minimum replicas unavailable; pods: cats-a, cats-b"


def test_a_model_that_answers_is_ready() -> None:
    assert reasons(judged(good(), isvc=service(READY, url=URL))) == {
        "Accepted": ("True", "Accepted"),
        "PredictorReady": ("True", "Serving"),
        "RoutesReady": ("True", "Routed"),
        "Ready": ("True", "Ready"),
    }


@pytest.mark.parametrize(
    ("conditions", "url"),
    [(READY, None), (READY[:1], URL), ([READY[0], {"type": "IngressReady", "status": "False"}], URL)],
)
def test_a_model_without_a_route_is_not_ready(conditions: list[dict[str, Any]], url: str | None) -> None:
    found = judged(good(), isvc=service(conditions, **({"url": url} if url else {})))
    assert reasons(found)["RoutesReady"] == ("False", "WaitingForRoutes")
    assert reasons(found)["Ready"] == ("False", "WaitingForRoutes")


def test_a_change_of_scale_that_leaves_the_deployment_alone_does_not_make_a_model_unready() -> None:
    """KServe's observedGeneration is that of its Deployment, and may be less than the InferenceService's for ever."""
    found = judged(good(), isvc=service(READY, url=URL, observedGeneration=1))
    assert found["Ready"]["status"] == "True"


def kserves_deployment(
    pod_hash: str | None = None, *, seen: int = 4, updated: int = 2, total: int = 2
) -> dict[str, Any]:
    """KServe's Deployment, by default at the InferenceService's latest state."""
    wanted = service()["spec"]["predictor"]["annotations"][POD_HASH]
    return {
        "metadata": {"name": "cats-predictor", "generation": 4},
        "spec": {"template": {"metadata": {"annotations": {POD_HASH: pod_hash or wanted}}}},
        "status": {"observedGeneration": seen, "updatedReplicas": updated, "replicas": total},
    }


@pytest.mark.parametrize(
    ("behind", "message"),
    [
        (kserves_deployment("former"), "KServe has not acted on the latest change yet"),
        (kserves_deployment(seen=3), "the Deployment has not acted on the latest change yet"),
        (kserves_deployment(updated=1, total=3), "1 of 3 pods have the latest change"),
    ],
)
def test_a_model_is_not_said_to_serve_a_change_that_its_pods_do_not_have(behind: dict[str, Any], message: str) -> None:
    observed = Observed(children={"InferenceService": [service(READY, url=URL)]}, deployments=[behind])
    found = evaluate(looked_at(), observed, {}, NOW)["conditions"][1]
    assert (found["status"], found["reason"], found["message"]) == ("False", "Deploying", message)


@pytest.mark.parametrize(
    "behind", [kserves_deployment("former"), kserves_deployment(seen=3)], ids=["KServe", "Deployment"]
)
def test_trouble_of_the_version_before_is_not_that_of_a_change_on_which_nobody_has_acted(
    behind: dict[str, Any],
) -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    behind = {**behind, "status": {**behind["status"], "conditions": [late]}}
    old = pod(container({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}))
    observed = Observed(children={"InferenceService": [service(READY, url=URL)]}, deployments=[behind], pods=[old])
    found = {item["type"]: item for item in evaluate(looked_at(), observed, {}, NOW)["conditions"]}
    assert (found["Ready"]["reason"], "Stalled" in found) == ("Deploying", False)
    assert "has not acted on the latest change yet; before it: pod cats-1: " in found["Ready"]["message"]


def test_a_model_whose_pods_have_the_latest_change_serves_it() -> None:
    children = {"InferenceService": [service(READY, url=URL)]}
    observed = Observed(children=children, deployments=[kserves_deployment()], pods=[good()])
    assert evaluate(looked_at(), observed, {}, NOW)["conditions"][3]["status"] == "True"


def with_deployment(
    *pods: dict[str, Any], conditions: list[dict[str, Any]], **status: Any
) -> dict[str, dict[str, Any]]:
    """The conditions by type, with a Deployment that has the latest change and says `conditions`."""
    made = kserves_deployment()
    made["status"] |= {"conditions": conditions, **status}
    children = {"InferenceService": [service(READY, url=URL)]}
    found = evaluate(looked_at(), Observed(children=children, deployments=[made], pods=list(pods)), {}, NOW)
    return {item["type"]: item for item in found["conditions"]}


def test_kserve_is_not_believed_over_its_own_deployment() -> None:
    short = {"type": "Available", "status": "False", "message": "Deployment does not have minimum availability."}
    found = with_deployment(good(), conditions=[short])["Ready"]
    assert (found["status"], found["reason"]) == ("False", "Deploying")
    assert found["message"] == f"PredictorReady: {short['message']}; pods: cats-1"


QUOTA = 'pods "cats-1" is forbidden: exceeded quota: few, requested: limits.memory=2Gi, used: ..., limited: limits.memory=3Gi'


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (QUOTA, "raise the ResourceQuota, or lower spec.predictor.resources or spec.scaling"),
        ('violates PodSecurity "restricted:latest"', "allow it in the namespace's pod-security labels"),
        ("maximum memory usage per Container is 1Gi, but limit is 2Gi", "raise the LimitRange, or change"),
        ('admission webhook "x" denied the request: no', "that webhook's rule forbids it: ask who runs it"),
        ('failed calling webhook "x": connection refused', "the webhook's own server does not answer"),
        ("failed quota: few: must specify limits.memory for: storage-initializer", "let a LimitRange of the namespace"),
        ("luck", "remove what refuses it"),
    ],
)
def test_pods_that_the_api_server_refuses_are_told_with_its_words_and_numbers(words: str, fix: str) -> None:
    refused = [{"type": "Available", "status": "False"}, {"type": "ReplicaFailure", "status": "True", "message": words}]
    found = with_deployment(conditions=refused)
    assert reasons(found)["Ready"] == ("False", "PodsRefused")
    assert f"Deployment cats-predictor: {words}: {fix}" in found["Ready"]["message"]
    assert "Stalled" in found


def test_a_quota_that_lets_some_copies_be_made_degrades_the_model() -> None:
    refused = [{"type": "ReplicaFailure", "status": "True", "message": QUOTA}]
    found = with_deployment(good(), conditions=refused)["Ready"]
    assert (found["status"], found["reason"]) == ("True", "Degraded")
    assert found["message"].startswith(
        f"1 of 2 copies answer; Deployment cats-predictor: {QUOTA}: raise the ResourceQuota"
    )


LATE = [{"type": "Available", "status": "False", "message": "too few"}, {"type": "Progressing", "status": "False"}]


def test_pods_that_run_and_never_become_ready_are_told_after_the_deadline() -> None:
    running = pod(container({"running": {}}))
    found = with_deployment(running, conditions=LATE)
    assert reasons(found)["Ready"] == ("False", "RolloutStuck")
    assert "too few; pods: cats-1" in found["Ready"]["message"]
    assert "Stalled" in found


def test_what_may_heal_by_itself_is_stalled_once_the_deadline_has_passed() -> None:
    waiting = TROUBLES["no place"][0]
    assert "Reconciling" in judged(waiting, isvc=service(WAITING))
    found = with_deployment(waiting, conditions=LATE)
    assert (found["Ready"]["reason"], "Stalled" in found, "Reconciling" in found) == ("Unschedulable", True, False)


def test_copies_of_the_version_before_that_still_answer_are_told() -> None:
    wanted = service()["spec"]["predictor"]["annotations"]
    broken = pod(container(ended(1, "boom")), metadata={"annotations": wanted}, name="new")
    former = good("old", metadata={"annotations": {POD_HASH: "former"}})
    message = judged(former, broken, isvc=service(WAITING))["PredictorReady"]["message"]
    assert message.startswith("pod new: container kserve-container ended with exit code 1: boom")
    assert message.endswith("; 1 copy of the version before still answers")


def test_the_pods_of_the_latest_change_are_asked_before_others() -> None:
    wanted = service()["spec"]["predictor"]["annotations"]
    new = pod(container({"waiting": {"reason": "ErrImagePull"}}), metadata={"annotations": wanted}, name="new")
    old = pod(container(ended(2, "corrupt")), name="old")
    assert judged(old, new, isvc=service(WAITING))["PredictorReady"]["reason"] == "ImagePullFailed"


def test_a_service_that_somebody_has_stopped_says_so() -> None:
    stopped = service([*READY, {"type": "Stopped", "status": "True"}], url=URL)
    assert judged(good(), isvc=stopped)["PredictorReady"]["reason"] == "Stopped"


def test_a_deployment_that_somebody_has_scaled_to_0_says_so_and_how_to_scale_it_back() -> None:
    made = kserves_deployment(updated=0, total=0)
    made["spec"]["replicas"] = 0
    observed = Observed(children={"InferenceService": [service(READY, url=URL)]}, deployments=[made])
    found = {item["type"]: item for item in evaluate(looked_at(), observed, {}, NOW)["conditions"]}
    assert reasons(found)["Ready"] == ("False", "ScaledToZero")
    assert reasons(found)["Stalled"] == ("True", "ScaledToZero")
    assert found["PredictorReady"]["message"] == (
        "Deployment cats-predictor is scaled to 0 by hand: `kubectl scale deployment/cats-predictor --replicas=1`"
    )


def test_kserve_is_not_believed_without_its_deployment() -> None:
    for pods in ([], [good()]):
        observed = Observed(children={"InferenceService": [service(READY, url=URL)]}, pods=pods)
        found = evaluate(looked_at(), observed, {}, NOW)["conditions"][1]
        assert (found["status"], found["reason"]) == ("False", "Deploying")
        assert found["message"].startswith("KServe's Deployment cats-predictor is not there, whatever KServe says")


def test_what_is_asked_for_and_missing_is_a_condition_of_its_own_beside_ready() -> None:
    needs = missing(model_deployment(), Capabilities(features=frozenset({"KServe"})))
    found = judged(good(), isvc=service(READY, url=URL), missing=needs)
    assert reasons(found)["Ready"] == ("True", "Ready")
    assert reasons(found)["ResourceMetricsUnavailable"] == ("True", "NotInstalled")
    assert "install metrics-server" in found["ResourceMetricsUnavailable"]["message"]


def test_a_service_without_our_annotation_is_judged_all_the_same() -> None:
    stripped = service(READY, url=URL)
    del stripped["spec"]["predictor"]["annotations"]
    observed = Observed(children={"InferenceService": [stripped]}, deployments=[kserves_deployment()])
    assert evaluate(looked_at(failure=FAILURE), observed, {}, NOW)["conditions"][0]["reason"] == "InvalidSpec"


def test_a_refusal_by_kserve_is_told_in_its_words() -> None:
    told = {
        "transitionStatus": "InvalidSpec",
        "lastFailureInfo": {"reason": "RuntimeNotFound", "message": "no runtime"},
    }
    found = judged(isvc=service(modelStatus=told))["PredictorReady"]
    assert (found["reason"], found["message"]) == ("InferenceServiceFailed", "KServe says RuntimeNotFound: no runtime")


LOOP = {"waiting": {"reason": "CrashLoopBackOff"}}
FIX_OF_IMAGE = "correct spec.predictor.image, or name a pull secret in spec.predictor.imagePullSecrets"
RESOURCES = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
LIMITED = {"spec": {"containers": [{"name": "kserve-container", "resources": RESOURCES}]}}
CLAIM = {"persistentVolumeClaim": {"claimName": "weights"}}
WAITING_FOR_VOLUMES = [
    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-02T03:03:00Z"},
    {"type": "PodReadyToStartContainers", "status": "False"},
]

TROUBLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "out of memory": (
        pod(container(LOOP, lastState=ended(137, reason="OOMKilled"), restartCount=4)) | LIMITED,
        "OutOfMemory",
        "pod cats-1: container kserve-container was killed for using more memory than its limit of 2Gi "
        "(restarted 4 times): raise spec.predictor.resources.limits.memory",
    ),
    "out of memory while the weights are fetched": (
        pod(initContainerStatuses=[container(ended(137, reason="OOMKilled"), name="storage-initializer")]),
        "OutOfMemory",
        "pod cats-1: container storage-initializer was killed for using more memory than its limit: "
        "raise the memory of storage-initializer in KServe's ConfigMap inferenceservice-config",
    ),
    "a model that cannot be loaded": (
        pod(container(LOOP, lastState=ended(2, "/mnt/models/a.pth:\n corrupt"))),
        "ModelLoadFailed",
        "pod cats-1: /mnt/models/a.pth: corrupt: correct the file, or the field of spec.model",
    ),
    "a model that cannot be loaded, without words": (
        pod(container(ended(2))),
        "ModelLoadFailed",
        "pod cats-1: the model could not be loaded; its log says why: correct the file, or the field of spec.model",
    ),
    "another end": (
        pod(container(ended(1, "Traceback (most recent call last):\n  File a\nValueError: no"))),
        "CrashLooping",
        "pod cats-1: container kserve-container ended with exit code 1: ValueError: no: "
        "read `kubectl logs cats-1 -c kserve-container --previous`",
    ),
    "an end by a signal": (
        pod(container(LOOP, lastState=ended(139), restartCount=2)),
        "CrashLooping",
        "pod cats-1: container kserve-container ended with exit code 139 (restarted 2 times): "
        "SIGSEGV, a crash of native code: read `kubectl logs cats-1 -c kserve-container --previous`",
    ),
    "an image that cannot be pulled": (
        pod(container({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}})),
        "ImagePullFailed",
        f"pod cats-1: ImagePullBackOff: predictor:1: Back-off pulling image: {FIX_OF_IMAGE}",
    ),
    "an image that cannot be pulled, without words": (
        pod(container({"waiting": {"reason": "ErrImagePull"}})),
        "ImagePullFailed",
        f"pod cats-1: ErrImagePull: predictor:1: {FIX_OF_IMAGE}",
    ),
    "an image of weights that cannot be pulled": (
        pod(container({"waiting": {"reason": "ErrImagePull", "message": "predictor:1: not found"}}, name="modelcar")),
        "ImagePullFailed",
        "pod cats-1: ErrImagePull: predictor:1: not found: correct spec.model.storageUri",
    ),
    "no place": (
        pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/3 nodes are available"}])
        | LIMITED,
        "Unschedulable",
        "pod cats-1: 0/3 nodes are available (it asks for cpu 2, memory 1Gi): "
        "lower spec.predictor.resources.requests, or add nodes",
    ),
    "the storage initializer": (
        pod(initContainerStatuses=[container(ended(1, "no such bucket"), name="storage-initializer")]),
        "StorageFailed",
        "pod cats-1: the storage initializer ended with exit code 1: no such bucket: "
        "correct spec.model.storageUri, or name credentials in spec.model.storageSecret",
    ),
    "volumes that do not come": (
        pod(conditions=WAITING_FOR_VOLUMES)
        | {"spec": {"volumes": [{"secret": {"secretName": "keys"}}, {"emptyDir": {}}, CLAIM]}},
        "VolumesNotMounted",
        "pod cats-1: it waits for Secret keys, PersistentVolumeClaim weights: make what is missing; it goes on by itself",
    ),
    "an eviction": (
        pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
        "Evicted",
        "pod cats-1: evicted: The node was low on resource: memory.: free the node, or give the pod more of what ran out",
    ),
}


@pytest.mark.parametrize(("trouble", "reason", "message"), TROUBLES.values(), ids=TROUBLES)
def test_a_pods_trouble_is_the_reason(trouble: dict[str, Any], reason: str, message: str) -> None:
    found = judged(trouble, isvc=service(WAITING))
    assert (found["PredictorReady"]["reason"], found["PredictorReady"]["message"]) == (reason, message)
    assert (found["Ready"]["reason"], found["Ready"]["message"]) == (reason, f"PredictorReady: {message}")


@pytest.mark.parametrize(
    "harmless",
    [
        pod(container({"waiting": {"reason": "ContainerCreating"}})),
        pod(container({"running": {}}, ready=True, lastState=ended(1))),
        pod(container(ended(0))),
        pod(container(ended(1)), metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        pod(initContainerStatuses=[container(ended(0), name="storage-initializer", ready=True)]),
        {"metadata": {"name": "cats-1"}},
        pod(
            conditions=[
                {**WAITING_FOR_VOLUMES[0], "lastTransitionTime": "2026-01-02T03:03:50Z"},
                WAITING_FOR_VOLUMES[1],
            ]
        ),
    ],
)
def test_a_pod_that_is_only_on_its_way_is_no_trouble(harmless: dict[str, Any]) -> None:
    assert judged(harmless, isvc=service(WAITING))["PredictorReady"]["reason"] == "Deploying"


def test_the_most_telling_of_several_troubles_is_told() -> None:
    pods = [case[0] for case in TROUBLES.values()]
    assert judged(*pods, isvc=service(WAITING))["PredictorReady"]["reason"] == "ModelLoadFailed"
    assert judged(*reversed(pods), isvc=service(WAITING))["PredictorReady"]["reason"] == "ModelLoadFailed"


def test_a_broken_pod_beside_enough_good_ones_degrades_a_model_that_is_ready() -> None:
    found = judged(good("a"), pod(container(ended(1, "boom")), name="b"), isvc=service(READY, url=URL))
    assert reasons(found)["PredictorReady"] == reasons(found)["Ready"] == ("True", "Degraded")
    assert found["Ready"]["message"].startswith("1 of 2 copies answer; pod b: container kserve-container ended")
    assert "Stalled" not in found


def test_a_pod_that_is_loading_beside_good_ones_degrades_nothing() -> None:
    found = judged(
        good("a"), pod(container({"waiting": {"reason": "ContainerCreating"}})), isvc=service(READY, url=URL)
    )
    assert reasons(found)["Ready"] == ("True", "Ready")


@pytest.mark.parametrize(
    "broken", [pod(container(ended(1))), pod(), pod(conditions=[{"type": "Ready", "status": "False"}])]
)
def test_kserve_is_not_believed_that_a_model_is_ready_of_which_no_pod_is(broken: dict[str, Any]) -> None:
    assert judged(broken, isvc=service(READY, url=URL))["Ready"]["status"] == "False"


def test_what_was_not_accepted_has_nothing_made_for_it() -> None:
    found = judged(version=None, failure=FAILURE)
    assert reasons(found) == {
        "Accepted": ("False", "InvalidSpec"),
        "PredictorReady": ("False", "NotAccepted"),
        "RoutesReady": ("False", "NotAccepted"),
        "Ready": ("False", "InvalidSpec"),
        "Stalled": ("True", "InvalidSpec"),
    }
    assert found["Ready"]["message"] == "Accepted: spec.model: Required value"


def test_what_was_serving_before_a_bad_edit_is_still_said_to_serve() -> None:
    found = judged(good(), isvc=service(READY, url=URL), failure=FAILURE)
    assert reasons(found) == {
        "Accepted": ("False", "InvalidSpec"),
        "PredictorReady": ("True", "Serving"),
        "RoutesReady": ("True", "Routed"),
        "Ready": ("False", "InvalidSpec"),
        "Stalled": ("True", "InvalidSpec"),
    }


def evaluated(previous: dict[str, Any], now: datetime, isvc: dict[str, Any], generation: int = 3) -> dict[str, Any]:
    children = {"InferenceService": [isvc]}
    observed = Observed(children=children, deployments=[kserves_deployment()], pods=[good(), good("b")])
    return evaluate(looked_at(generation=generation), observed, previous, now)


def test_equal_facts_give_an_equal_status_at_any_time() -> None:
    first = evaluated({}, NOW, service(READY, url=URL))
    assert evaluated(first, LATER, service(READY, url=URL)) == first


def test_the_time_of_transition_moves_only_with_the_status() -> None:
    first = evaluated({}, NOW, service(WAITING))
    other_words = evaluated(first, LATER, service([{**WAITING[0], "message": "1 of 2"}]))
    ready = evaluated(other_words, LATER, service(READY, url=URL))
    times = [
        {item["type"]: item["lastTransitionTime"] for item in status["conditions"]}
        for status in (first, other_words, ready)
    ]
    assert times[0] == times[1] == dict.fromkeys([*c.TYPES, "Reconciling"], "2026-01-02T03:04:05Z")
    assert times[2] == {
        **dict.fromkeys(c.TYPES, times[0]["Accepted"]),
        **dict.fromkeys(["PredictorReady", "RoutesReady", "Ready"], "2026-01-02T03:11:05Z"),
    }


def test_every_condition_says_which_generation_it_speaks_of() -> None:
    status = evaluated({}, NOW, service(READY, url=URL), generation=8)
    assert status["observedGeneration"] == 8
    assert {item["observedGeneration"] for item in status["conditions"]} == {8}


def test_the_rest_of_the_status_is_for_kubectl_and_autoscalers() -> None:
    status = evaluated({}, NOW, service(READY, url=URL))
    assert (status["url"], status["replicas"], status["version"]) == (URL, 2, "1")
    assert status["selector"] == "component=predictor,moorage.dev/model-deployment=cats"


def test_pods_that_are_going_or_gone_are_no_copies() -> None:
    going = pod(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    evicted = pod(phase="Failed", reason="Evicted")
    status = evaluate(looked_at(), Observed(pods=[pod(), going, evicted]), {}, NOW)
    assert status["replicas"] == 1


def test_the_version_is_the_one_that_serves_not_the_one_that_is_asked_for() -> None:
    before, url = {"version": "1"}, service(READY, url=URL)
    waiting = evaluate(looked_at(version="2"), Observed(children={"InferenceService": [service(WAITING)]}), before, NOW)
    refused = evaluate(
        looked_at(version="2", failure=FAILURE), Observed(children={"InferenceService": [url]}), before, NOW
    )
    found = Observed(children={"InferenceService": [url]}, deployments=[kserves_deployment()], pods=[good()])
    serving = evaluate(looked_at(version="2"), found, before, NOW)
    assert [waiting["version"], refused["version"], serving["version"]] == ["1", "1", "2"]
    assert refused["selector"]


def test_a_container_that_ends_in_order_again_and_again_is_crash_looping() -> None:
    looping = container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(0, reason="Completed"))
    assert judged(pod(looping), isvc=service(WAITING))["PredictorReady"]["reason"] == "CrashLooping"


@pytest.mark.parametrize(
    ("started_at", "unready_since", "started", "reason"),
    [
        ("2026-01-02T03:00:00Z", "2026-01-02T03:02:00Z", True, "NotAnswering"),
        ("2026-01-02T03:00:00Z", "2026-01-02T02:59:00Z", True, "Deploying"),  # not ready yet: the pod is older than it
        ("2026-01-02T03:00:00Z", "2026-01-02T03:00:00Z", True, "Deploying"),  # restarted at once after an end
        ("2026-01-02T03:00:00Z", "2026-01-02T03:02:00Z", False, "Deploying"),
        (None, "2026-01-02T03:02:00Z", True, "Deploying"),
    ],
)
def test_a_container_that_was_ready_and_no_longer_answers_is_told_from_one_that_is_on_its_way(
    started_at: str | None, unready_since: str, started: bool, reason: str
) -> None:
    running = container({"running": {"startedAt": started_at} if started_at else {}}, started=started)
    conditions = [{"type": "Ready", "status": "False", "lastTransitionTime": unready_since}]
    found = judged(pod(running, conditions=conditions), isvc=service(WAITING))
    assert found["PredictorReady"]["reason"] == reason
    assert ("Stalled" in found, "Reconciling" in found) == (False, True)
    if reason == "NotAnswering":
        assert found["PredictorReady"]["message"] == (
            "pod cats-1: container kserve-container runs, and has failed its readiness probe since 2026-01-02T03:02:00Z: "
            "read `kubectl logs cats-1 -c kserve-container`"
        )


def test_a_missing_secret_is_named() -> None:
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "store" not found'}}
    found = judged(pod(container(waiting)), isvc=service(WAITING))["PredictorReady"]
    assert (found["reason"], 'secret "store" not found' in found["message"]) == ("ContainerConfigFailed", True)


def test_every_reason_that_is_given_is_documented_for_its_condition() -> None:
    documented = {kind: {r.name for r in c.REASONS if kind in r.types} for kind in c.TYPES}
    cases = [judged(case[0], isvc=service(WAITING)) for case in TROUBLES.values()]
    cases += [judged(), judged(version=None, failure=FAILURE), judged(isvc=service(READY, url=URL))]
    cases += [judged(good(), isvc=service(READY, url=URL))]
    cases += [judged(good(), pod(container(ended(1)), name="b"), isvc=service(READY, url=URL))]
    for found in cases:
        for kind in ("Accepted", "PredictorReady", "RoutesReady"):
            assert found[kind]["reason"] in documented[kind]


def test_a_message_of_any_length_fits() -> None:
    found = judged(failure=Refusal(c.APPLY_FAILED, "x" * 100_000))
    assert all(len(item["message"]) <= 32768 for item in found.values())


def test_a_copy_of_the_service_under_another_name_is_not_believed() -> None:
    copy = service(READY, url="http://other")
    copy["metadata"] = {**copy["metadata"], "name": "aaa"}
    observed = Observed(children={"InferenceService": [copy, service(WAITING)]})
    status = evaluate(looked_at(), observed, {}, NOW)
    assert status["conditions"][3]["status"] == "False"
    assert "url" not in status


def test_a_format_that_may_run_code_is_a_condition_beside_ready_as_long_as_it_is_allowed() -> None:
    found = judged(good(), isvc=service(READY, url=URL), unsafe_formats=True)
    assert (found["UnsafeFormat"]["status"], found["UnsafeFormat"]["reason"]) == ("True", "UnsafeFormatsAllowed")
    assert found["Ready"]["status"] == "True"
    assert "UnsafeFormat" not in judged(good(), isvc=service(READY, url=URL))


def test_what_is_missing_stays_said_while_it_is_not_known_what_the_cluster_has() -> None:
    """Or each restart of the controller would write twice to each object."""
    needs = missing(model_deployment(), Capabilities(features=frozenset({"KServe"})))
    children = {"InferenceService": [service(READY, url=URL)]}
    observed = Observed(children=children, deployments=[kserves_deployment()], pods=[good()])
    first = evaluate(looked_at(missing=needs), observed, {}, NOW)
    assert evaluate(looked_at(missing=None), observed, first, LATER) == first
    healed = evaluate(looked_at(missing=()), observed, first, LATER)
    assert [item["type"] for item in healed["conditions"]] == list(c.TYPES)


def test_with_tls_the_url_is_the_services_own_because_calls_through_kserves_route_fail() -> None:
    routed = [{"type": "IngressReady", "status": "True"}]
    inside = {"url": "http://cats-predictor.shop.svc.cluster.local"}
    isvc = service(routed, url="http://cats-shop.example.com", address=inside)
    observed = Observed(children={"InferenceService": [isvc]}, pods=[good()])
    plain = evaluate(looked_at(), observed, {}, NOW)
    assert plain["url"] == "http://cats-shop.example.com"
    status = evaluate(looked_at(tls=True), observed, {}, NOW)
    url = f"https://cats-predictor.{isvc['metadata']['namespace']}.svc.cluster.local:80"
    assert status["url"] == url
    routes = next(item for item in status["conditions"] if item["type"] == "RoutesReady")
    assert (routes["status"], routes["reason"]) == ("True", "RoutedInside")
    assert routes["message"].endswith(url)
    assert evaluate(looked_at(tls=None), observed, status, NOW)["url"] == url
    assert evaluate(looked_at(tls=None), observed, plain, NOW)["url"] == plain["url"]


def test_with_tls_there_is_no_url_before_kserve_has_made_the_service() -> None:
    isvc = service([{"type": "IngressReady", "status": "True"}], url="http://cats-shop.example.com")
    found = judged(good(), isvc=isvc, tls=True)
    assert reasons(found)["RoutesReady"] == ("False", "WaitingForRoutes")


def test_with_tls_the_port_is_the_one_that_kserve_says() -> None:
    address = {"url": "http://cats-predictor.shop.svc.cluster.local:8080"}
    found = judged(good(), isvc=service([{"type": "IngressReady", "status": "True"}], address=address), tls=True)
    assert found["RoutesReady"]["message"].endswith(".svc.cluster.local:8080")
