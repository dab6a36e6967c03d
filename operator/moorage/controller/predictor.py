"""What the condition PredictorReady says: KServe's word, held against its Deployment and the pods. Pure.

KServe's word alone has been seen to be true while pods crash, and says nothing of why they do (docs/design/0005). So True
needs three witnesses that agree: KServe, the Deployment (it has the latest change and enough copies), and a ready pod.
Called by `status.evaluate`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moorage.api import conditions as c
from moorage.controller.culprit import culprit, of_latest_change, wanted_hash
from moorage.controller.deployments import overdue, unavailable, unfinished, unseen
from moorage.controller.observe import Observed
from moorage.controller.pods import is_ready
from moorage.render import Refusal

Body = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One condition before it has a time: what is so, and why."""

    status: c.ConditionStatus
    reason: c.Reason
    message: str
    overdue: bool = False
    """Whether the Deployment's own deadline has passed: what might have healed by itself has not."""


def predictor_verdict(observed: Observed, failure: Refusal | None, now: datetime) -> Verdict:
    """The verdict on the predictor.

    Args:
        observed: the children, KServe's Deployment and the pods.
        failure: why the spec was not accepted or not applied, if so.
        now: timezone-aware.
    """
    service = observed.inference_service
    if service is None:
        if failure:
            return Verdict("False", c.NOT_ACCEPTED, "nothing has been made; see the condition Accepted")
        return Verdict("False", c.DEPLOYING, "the InferenceService is being made")
    if their_condition(service, "Stopped").get("status") == "True":
        return Verdict(
            "False", c.STOPPED, "the InferenceService has the annotation serving.kserve.io/stop: take it away"
        )
    model = service.get("status", {}).get("modelStatus", {})
    if model.get("transitionStatus") == "InvalidSpec":
        info = model.get("lastFailureInfo", {})
        return Verdict(
            "False", c.INFERENCE_SERVICE_FAILED, f"KServe says {info.get('reason', '?')}: {info.get('message', '')}"
        )
    if asleep := _scaled_to_zero(service, observed):
        return asleep
    wanted = wanted_hash(service)
    current = of_latest_change(observed.pods, wanted)
    missing = _missing(service, observed, wanted)
    if missing is None:
        return _serving(observed, current, now)
    if any(unseen(deployment, wanted) for deployment in observed.deployments):
        wrong = culprit(current, observed.deployments, now)
        return Verdict("False", c.DEPLOYING, f"{missing}; before it: {wrong.message}" if wrong else missing)
    return _not_serving(observed, current, missing, now)


def their_condition(service: Body, kind: str) -> dict[str, str]:
    """A condition of the InferenceService; empty if it has none of that type."""
    found: dict[str, str] = next(
        (item for item in service.get("status", {}).get("conditions", []) if item.get("type") == kind), {}
    )
    return found


def _scaled_to_zero(service: Body, observed: Observed) -> Verdict | None:
    """KServe never makes a Deployment without copies for us, and its autoscaler leaves one at 0 alone: it was somebody's hand."""
    for deployment in observed.deployments:
        if deployment["spec"].get("replicas", 1) == 0:
            name, copies = deployment["metadata"]["name"], max(1, service["spec"]["predictor"].get("minReplicas", 1))
            fix = f"`kubectl scale deployment/{name} --replicas={copies}`"
            return Verdict("False", c.SCALED_TO_ZERO, f"Deployment {name} is scaled to 0 by hand: {fix}")
    return None


def _missing(service: Body, observed: Observed, wanted: str | None) -> str | None:
    """What is still to come before the model can be said to answer, or None."""
    theirs = their_condition(service, "PredictorReady")
    for deployment in observed.deployments:
        if behind := unfinished(deployment, wanted):
            return behind
    if theirs.get("status") != "True":
        return theirs.get("message") or "waiting for KServe"
    if not observed.deployments:
        return f"KServe's Deployment {service['metadata']['name']}-predictor is not there, whatever KServe says"
    for deployment in observed.deployments:
        if short := unavailable(deployment):
            return short
    if not any(map(is_ready, observed.pods)):
        return "no pod is ready, whatever KServe says"
    return None


def _serving(observed: Observed, current: list[Body], now: datetime) -> Verdict:
    good = sum(map(is_ready, current))
    if wrong := culprit(current, observed.deployments, now, ended=False):
        total = max(good + 1, _copies(observed))
        return Verdict("True", c.DEGRADED, f"{good} of {total} copies answer; {wrong.message}")
    return Verdict("True", c.SERVING, "the model is loaded and answers")


def _not_serving(observed: Observed, current: list[Body], missing: str, now: datetime) -> Verdict:
    late = any(map(overdue, observed.deployments))
    former = sum(is_ready(pod) for pod in observed.pods if pod not in current)
    them = (
        "1 copy of the version before still answers"
        if former == 1
        else f"{former} copies of the version before still answer"
    )
    tail = f"; {them}" if former else ""
    if wrong := culprit(current, observed.deployments, now):
        return Verdict("False", wrong.reason, wrong.message + tail, late)
    names = ", ".join(pod["metadata"]["name"] for pod in current[:3])
    words = f"{missing}; pods: {names}" if names else missing
    if late:
        return Verdict("False", c.ROLLOUT_STUCK, f"not within the Deployment's deadline: {words}{tail}", late)
    return Verdict("False", c.DEPLOYING, words + tail)


def _copies(observed: Observed) -> int:
    """How many copies there are to be, as far as a Deployment says it."""
    return max(int(deployment["spec"].get("replicas", 1)) for deployment in observed.deployments)
