from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.builders import model_deployment

from moorage.api import conditions as c
from moorage.controller.observe import Observed
from moorage.controller.status import Judged, evaluate
from moorage.render import POD_HASH, Refusal, render

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


def container(state: dict[str, Any], *, name: str = "kserve-container", **more: Any) -> dict[str, Any]:
    return {"name": name, "ready": False, "image": "predictor:1", "state": state, **more}


def ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def looked_at(**changes: Any) -> Judged:
    return Judged(**{"name": "cats", "generation": 3, "version": "1", **changes})


def judged(*pods: dict[str, Any], isvc: dict[str, Any] | None = None, **changes: Any) -> dict[str, dict[str, Any]]:
    """The conditions by type."""
    children = {"InferenceService": [isvc]} if isvc else {}
    observed = Observed(children=children, pods=list(pods))
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
    }


def test_a_deployment_that_kserve_works_on_is_deploying_and_names_its_pods() -> None:
    found = judged(pod(name="cats-a"), pod(name="cats-b"), isvc=service(WAITING))
    assert found["PredictorReady"]["reason"] == "Deploying"
    assert found["PredictorReady"]["message"] == "Minimum replicas unavailable; pods: cats-a, cats-b"
    assert found["Ready"]["message"] == "PredictorReady: Minimum replicas unavailable; pods: cats-a, cats-b"


def test_a_model_that_answers_is_ready() -> None:
    assert reasons(judged(pod(), isvc=service(READY, url=URL))) == {
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
    found = judged(isvc=service(conditions, **({"url": url} if url else {})))
    assert reasons(found)["RoutesReady"] == ("False", "WaitingForRoutes")
    assert reasons(found)["Ready"] == ("False", "WaitingForRoutes")


def test_a_change_of_scale_that_leaves_the_deployment_alone_does_not_make_a_model_unready() -> None:
    """KServe's observedGeneration is that of its Deployment, and may be less than the InferenceService's for ever."""
    found = judged(isvc=service(READY, url=URL, observedGeneration=1))
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


def test_a_model_whose_pods_have_the_latest_change_serves_it() -> None:
    children = {"InferenceService": [service(READY, url=URL)]}
    observed = Observed(children=children, deployments=[kserves_deployment()])
    assert evaluate(looked_at(), observed, {}, NOW)["conditions"][3]["status"] == "True"


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


TROUBLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "out of memory": (
        pod(container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(137, reason="OOMKilled"))),
        "OutOfMemory",
        "pod cats-1: container kserve-container was killed for using more memory than its limit",
    ),
    "a model that cannot be loaded": (
        pod(container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(2, "/mnt/models/a.pth:\n corrupt"))),
        "ModelLoadFailed",
        "pod cats-1: /mnt/models/a.pth: corrupt",
    ),
    "a model that cannot be loaded, without words": (
        pod(container(ended(2))),
        "ModelLoadFailed",
        "pod cats-1: the model could not be loaded; see the log",
    ),
    "another end": (
        pod(container(ended(1, "Traceback"))),
        "CrashLooping",
        "pod cats-1: container kserve-container ended with exit code 1: Traceback",
    ),
    "an image that cannot be pulled": (
        pod(container({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}})),
        "ImagePullFailed",
        "pod cats-1: ImagePullBackOff: Back-off pulling image",
    ),
    "an image that cannot be pulled, without words": (
        pod(container({"waiting": {"reason": "ErrImagePull"}})),
        "ImagePullFailed",
        "pod cats-1: ErrImagePull: predictor:1",
    ),
    "no place": (
        pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/3 nodes are available"}]),
        "Unschedulable",
        "pod cats-1: 0/3 nodes are available",
    ),
    "the storage initializer": (
        pod(initContainerStatuses=[container(ended(1, "no such bucket"), name="storage-initializer")]),
        "StorageFailed",
        "pod cats-1: the storage initializer ended with exit code 1: no such bucket",
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
    ],
)
def test_a_pod_that_is_only_on_its_way_is_no_trouble(harmless: dict[str, Any]) -> None:
    assert judged(harmless, isvc=service(WAITING))["PredictorReady"]["reason"] == "Deploying"


def test_the_most_telling_of_several_troubles_is_told() -> None:
    pods = [case[0] for case in TROUBLES.values()]
    assert judged(*pods, isvc=service(WAITING))["PredictorReady"]["reason"] == "ModelLoadFailed"
    assert judged(*reversed(pods), isvc=service(WAITING))["PredictorReady"]["reason"] == "ModelLoadFailed"


def test_a_broken_pod_beside_enough_good_ones_does_not_matter() -> None:
    assert judged(pod(container(ended(1))), isvc=service(READY, url=URL))["Ready"]["status"] == "True"


def test_what_was_not_accepted_has_nothing_made_for_it() -> None:
    found = judged(version=None, failure=FAILURE)
    assert reasons(found) == {
        "Accepted": ("False", "InvalidSpec"),
        "PredictorReady": ("False", "NotAccepted"),
        "RoutesReady": ("False", "NotAccepted"),
        "Ready": ("False", "InvalidSpec"),
    }
    assert found["Ready"]["message"] == "Accepted: spec.model: Required value"


def test_what_was_serving_before_a_bad_edit_is_still_said_to_serve() -> None:
    found = judged(pod(), isvc=service(READY, url=URL), failure=FAILURE)
    assert reasons(found) == {
        "Accepted": ("False", "InvalidSpec"),
        "PredictorReady": ("True", "Serving"),
        "RoutesReady": ("True", "Routed"),
        "Ready": ("False", "InvalidSpec"),
    }


def evaluated(previous: dict[str, Any], now: datetime, isvc: dict[str, Any], generation: int = 3) -> dict[str, Any]:
    observed = Observed(children={"InferenceService": [isvc]}, pods=[pod(), pod(name="b")])
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
    assert times[0] == times[1] == dict.fromkeys(c.TYPES, "2026-01-02T03:04:05Z")
    assert times[2] == {**times[0], **dict.fromkeys(["PredictorReady", "RoutesReady", "Ready"], "2026-01-02T03:11:05Z")}


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
    serving = evaluate(looked_at(version="2"), Observed(children={"InferenceService": [url]}), before, NOW)
    assert [waiting["version"], refused["version"], serving["version"]] == ["1", "1", "2"]
    assert refused["selector"]


def test_a_container_that_ends_in_order_again_and_again_is_crash_looping() -> None:
    looping = container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(0, reason="Completed"))
    assert judged(pod(looping), isvc=service(WAITING))["PredictorReady"]["reason"] == "CrashLooping"


def test_a_missing_secret_is_named() -> None:
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "store" not found'}}
    found = judged(pod(container(waiting)), isvc=service(WAITING))["PredictorReady"]
    assert (found["reason"], 'secret "store" not found' in found["message"]) == ("ContainerConfigFailed", True)


def test_every_reason_that_is_given_is_documented_for_its_condition() -> None:
    documented = {kind: {r.name for r in c.REASONS if kind in r.types} for kind in c.TYPES}
    cases = [judged(case[0], isvc=service(WAITING)) for case in TROUBLES.values()]
    cases += [judged(), judged(version=None, failure=FAILURE), judged(isvc=service(READY, url=URL))]
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
