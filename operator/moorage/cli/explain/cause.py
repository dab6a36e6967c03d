"""Which object is the cause of a model's not being ready, and what to do. Pure; `tree.py` marks it.

The operator's own verdict comes first where the cause lies before any pod: it has not looked, it has refused. Below that the
pods, the Deployment and the InferenceService are judged by the same functions that the operator uses, on what is there now.
"""

from dataclasses import dataclass
from datetime import datetime

from moorage.api import conditions as c
from moorage.cli.explain.gather import Found
from moorage.cli.kube import Body
from moorage.controller.culprit import culprit, of_latest_change, wanted_hash
from moorage.controller.deployments import pod_hash, unseen
from moorage.controller.pods import Trouble, exists, is_ready, trouble_of

NOT_LOOKED_AT = "NotLookedAt"
_ABOVE_PODS = {
    c.STOPPED.name: "InferenceService",
    c.INFERENCE_SERVICE_FAILED.name: "InferenceService",
    c.SCALED_TO_ZERO.name: "Deployment",
}
"""Verdicts on the predictor that say nothing of its pods, and whose they are."""
_REMEDIES = {reason.name: reason.remedy for reason in c.REASONS}


@dataclass(frozen=True)
class Cause:
    """The object to look at, why, and what to do."""

    kind: str
    name: str
    reason: str
    message: str
    fix: str


def ready(model_deployment: Body) -> Body:
    """Its condition Ready if that speaks of the latest generation, else an empty dict."""
    found = condition(model_deployment, c.READY)
    current = found.get("observedGeneration", 0) >= model_deployment["metadata"].get("generation", 0)
    return found if current else {}


def condition(body: Body | None, kind: str) -> Body:
    """One condition of an object; an empty dict if there is none."""
    conditions = ((body or {}).get("status") or {}).get("conditions") or []
    return next((item for item in conditions if item.get("type") == kind), {})


def cause(found: Found, now: datetime) -> Cause | None:
    """The cause, or None if the model is ready with all of its copies."""
    summary = ready(found.model_deployment)
    name = found.model_deployment["metadata"]["name"]
    if not summary:
        generation = found.model_deployment["metadata"].get("generation", 0)
        said = f"the operator has not looked at generation {generation} yet"
        return Cause("ModelDeployment", name, NOT_LOOKED_AT, said, "see that the operator runs, and its log")
    if summary["status"] == "True" and summary["reason"] != c.DEGRADED.name:
        return None
    if (accepted := condition(found.model_deployment, c.ACCEPTED)).get("status") != "True":
        return _said("ModelDeployment", name, accepted)
    predictor = condition(found.model_deployment, c.PREDICTOR_READY)
    if kind := _ABOVE_PODS.get(str(predictor.get("reason"))):
        return _said(kind, _name_of(kind, found), predictor)
    if summary["status"] != "True" and predictor.get("status") == "True":  # the routes are what is missing
        return _said(*_named(found, []), summary)
    if waits := _unseen(found):
        return _said(*waits, predictor)
    pods = _current(found)
    deployments = [found.deployment] if found.deployment else []
    if wrong := culprit(pods, deployments, now, ended=summary["status"] != "True"):
        return Cause(wrong.kind, wrong.name, wrong.reason.name, wrong.said, wrong.fix)
    return _said(*_named(found, pods), summary)


def _unseen(found: Found) -> tuple[str, str] | None:
    """Who has not acted on the latest change yet: what the pods of the change before tell is then not the cause."""
    service, deployment = found.inference_service, found.deployment
    if service is None or deployment is None or not unseen(deployment, wanted_hash(service)):
        return None
    acted = pod_hash(deployment["spec"]["template"]) == wanted_hash(service)
    body, kind = (deployment, "Deployment") if acted else (service, "InferenceService")
    return kind, body["metadata"]["name"]


def _current(found: Found) -> list[Body]:
    """The pods that the operator asks; all of them where the InferenceService may not be read."""
    service = found.inference_service
    return of_latest_change(found.pods, wanted_hash(service)) if service else found.pods


def trouble(pod: Body, now: datetime) -> Trouble | None:
    """What is wrong with one pod, whether or not it is the cause; a pod that answers has no trouble."""
    return None if is_ready(pod) else trouble_of(pod, now)


def _named(found: Found, pods: list[Body]) -> tuple[str, str]:
    """The lowest object that there is, whose turn it is."""
    waiting = [pod for pod in pods if exists(pod) and not is_ready(pod)]
    for kind, body in (
        ("Pod", waiting[0] if waiting else None),
        ("InferenceService", found.inference_service),
    ):
        if body is not None:
            return kind, body["metadata"]["name"]
    return "ModelDeployment", found.model_deployment["metadata"]["name"]


def _name_of(kind: str, found: Found) -> str:
    """As KServe names it, whether or not it may be read."""
    name: str = found.model_deployment["metadata"]["name"]
    return f"{name}-predictor" if kind == "Deployment" else name


def _said(kind: str, name: str, condition: Body) -> Cause:
    reason = str(condition.get("reason", ""))
    return Cause(kind, name, reason, str(condition.get("message", "")), _REMEDIES.get(reason, ""))
