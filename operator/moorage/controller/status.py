"""What a ModelDeployment's status must say, judged purely: `evaluate(judged, observed, previous, now)`.

Accepted        the spec, and whether its objects could be applied
PredictorReady  KServe's word, corrected by what the pods say
RoutesReady     KServe's word on the URL
Ready           the first of these that is not True, else True
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moorage.api import conditions as c
from moorage.controller.cluster import Body
from moorage.controller.observe import Observed
from moorage.controller.pods import worst_trouble
from moorage.render import POD_HASH, Refusal, pod_labels


@dataclass(frozen=True)
class Verdict:
    """One condition before it has a time: what is so, and why."""

    status: c.ConditionStatus
    reason: c.Reason
    message: str


@dataclass(frozen=True)
class Judged:
    """What was looked at, and what came of it."""

    name: str
    generation: int
    version: str | None
    """The version label that was asked for; None if the spec could not be read."""
    failure: Refusal | None = None
    """Why it was not accepted or could not be applied."""


def evaluate(judged: Judged, observed: Observed, previous: Body, now: datetime) -> Body:
    """The whole status. Times of conditions that have not changed are taken over, so equal facts give equal bytes.

    Args:
        judged: the generation that was judged, and how.
        observed: the children and pods after the apply.
        previous: the status as it stands.
        now: timezone-aware.
    """
    verdicts = _verdicts(observed, judged.failure)
    serving = verdicts[c.PREDICTOR_READY].status == "True" and judged.failure is None
    version = judged.version if serving else previous.get("version")
    url = _url(observed)
    return {
        "conditions": [
            _condition(kind, verdict, judged.generation, previous, now) for kind, verdict in verdicts.items()
        ],
        "observedGeneration": judged.generation,
        "replicas": len([pod for pod in observed.pods if _exists(pod)]),
        "selector": ",".join(f"{key}={value}" for key, value in sorted(pod_labels(judged.name).items())),
        **({"version": version} if version else {}),
        **({"url": url} if url else {}),
    }


def _exists(pod: Body) -> bool:
    """Not one that is going, or that has ended for good (evicted, for instance) and is only kept for its story."""
    return "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") not in (
        "Failed",
        "Succeeded",
    )


def _verdicts(observed: Observed, failure: Refusal | None) -> dict[str, Verdict]:
    accepted = (
        Verdict("False", failure.reason, failure.message)
        if failure
        else Verdict("True", c.OK_ACCEPTED, "the spec has been applied")
    )
    verdicts = {
        c.ACCEPTED: accepted,
        c.PREDICTOR_READY: _predictor(observed, failure),
        c.ROUTES_READY: _routes(observed, failure),
    }
    worst = next(((kind, verdict) for kind, verdict in verdicts.items() if verdict.status != "True"), None)
    if worst is None:
        verdicts[c.READY] = Verdict("True", c.ALL_READY, "the model answers")
    else:
        kind, verdict = worst
        verdicts[c.READY] = Verdict("False", verdict.reason, f"{kind}: {verdict.message}")
    return verdicts


def _predictor(observed: Observed, failure: Refusal | None) -> Verdict:
    service = observed.inference_service
    if service is None:
        if failure:
            return Verdict("False", c.NOT_ACCEPTED, "nothing has been made; see the condition Accepted")
        return Verdict("False", c.DEPLOYING, "the InferenceService is being made")
    model = service.get("status", {}).get("modelStatus", {})
    if model.get("transitionStatus") == "InvalidSpec":
        info = model.get("lastFailureInfo", {})
        return Verdict(
            "False", c.INFERENCE_SERVICE_FAILED, f"KServe says {info.get('reason', '?')}: {info.get('message', '')}"
        )
    theirs = _their_condition(service, "PredictorReady")
    behind = _rollout(service, observed.deployments)
    if theirs.get("status") == "True" and behind is None:
        return Verdict("True", c.SERVING, "the model is loaded and answers")
    if trouble := worst_trouble([pod for pod in observed.pods if _exists(pod)]):
        return Verdict("False", trouble.reason, trouble.message)
    words = behind or theirs.get("message") or "waiting for KServe"
    names = ", ".join(pod["metadata"]["name"] for pod in observed.pods[:3])
    return Verdict("False", c.DEPLOYING, f"{words}; pods: {names}" if names else words)


def _routes(observed: Observed, failure: Refusal | None) -> Verdict:
    service = observed.inference_service
    if service is None and failure:
        return Verdict("False", c.NOT_ACCEPTED, "nothing has been made; see the condition Accepted")
    if service is None:
        return Verdict("False", c.WAITING_FOR_ROUTES, "the InferenceService is being made")
    theirs = _their_condition(service, "IngressReady")
    if theirs.get("status") == "True" and _url(observed):
        return Verdict("True", c.ROUTED, "the model has a URL")
    return Verdict("False", c.WAITING_FOR_ROUTES, theirs.get("message") or "KServe has not made the routes yet")


def _rollout(service: Body, deployments: list[Body]) -> str | None:
    """What of the latest change is still missing, or None.

    KServe's `status.observedGeneration` is the Deployment's, not the InferenceService's, so it cannot tell. Its Deployment
    can: it carries our hash once KServe has acted, and counts the pods that have it.
    """
    wanted = service["spec"]["predictor"].get("annotations", {}).get(POD_HASH)
    for deployment in deployments:
        template = deployment["spec"]["template"]["metadata"].get("annotations", {})
        if template.get(POD_HASH) != wanted:
            return "KServe has not acted on the latest change yet"
        status = deployment.get("status", {})
        if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
            return "the Deployment has not acted on the latest change yet"
        if status.get("updatedReplicas", 0) < status.get("replicas", 0):
            return f"{status.get('updatedReplicas', 0)} of {status['replicas']} pods have the latest change"
    return None


def _their_condition(service: Body, kind: str) -> dict[str, str]:
    found: dict[str, str] = next(
        (item for item in service.get("status", {}).get("conditions", []) if item.get("type") == kind), {}
    )
    return found


def _url(observed: Observed) -> str | None:
    service = observed.inference_service
    status = service.get("status", {}) if service else {}
    url: str | None = status.get("url") or status.get("address", {}).get("url")
    return url


def _condition(kind: str, verdict: Verdict, generation: int, previous: Body, now: datetime) -> dict[str, Any]:
    before = next((item for item in previous.get("conditions", []) if item["type"] == kind), None)
    unchanged = before is not None and before["status"] == verdict.status
    return {
        "type": kind,
        "status": verdict.status,
        "reason": verdict.reason.name,
        "message": verdict.message[:4096],
        "lastTransitionTime": before["lastTransitionTime"]
        if before and unchanged
        else now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "observedGeneration": generation,
    }
