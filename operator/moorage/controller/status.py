"""What a ModelDeployment's status must say, judged purely: `evaluate(judged, observed, previous, now)`.

Accepted        the spec, and whether its objects could be applied
PredictorReady  KServe's word, corrected by what the pods say
RoutesReady     KServe's word on the URL; with TLS the URL is the Service's own
Ready           the first of these that is not True, else True

and, only while they are true, for those who must know more than that:

Reconciling, Stalled     Ready is not True: it will heal by itself, or somebody must act (the kstatus rules)
UnsafeFormat             the spec lets the model's file run code
<Feature>Unavailable     the spec asks for something that the cluster does not have; the rest was made
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from moorage.api import conditions as c
from moorage.api.features import CONDITIONS
from moorage.controller.cluster import Body
from moorage.controller.observe import Observed
from moorage.controller.pods import exists
from moorage.controller.predictor import Verdict, predictor_verdict, their_condition
from moorage.controller.store import url_of
from moorage.render import Need, Refusal, pod_labels

_SERVICE_PORT: Final = 80
"""Of the Service that KServe makes, where its address names none."""


@dataclass(frozen=True)
class Judged:
    """What was looked at, and what came of it."""

    name: str
    generation: int
    version: str | None
    """The version label that was asked for; None if the spec could not be read."""
    failure: Refusal | None = None
    """Why it was not accepted or could not be applied."""
    missing: tuple[Need, ...] | None = ()
    """What the spec asks for and the cluster does not have; None while that is not known, and then it stays as it was."""
    unsafe_formats: bool = False
    """Whether the spec lets the model's file run code."""
    tls: bool | None = False
    """Whether the predictor speaks TLS alone; None while the spec cannot be read, and then it stays as it was."""


def evaluate(judged: Judged, observed: Observed, previous: Body, now: datetime) -> Body:
    """The whole status. Times of conditions that have not changed are taken over, so equal facts give equal bytes.

    Args:
        judged: the generation that was judged, and how.
        observed: the children and pods after the apply.
        previous: the status as it stands.
        now: timezone-aware.
    """
    judged = replace(judged, tls=_was_tls(previous)) if judged.tls is None else judged
    verdicts = _verdicts(observed, judged, now)
    serving = verdicts[c.PREDICTOR_READY].status == "True" and judged.failure is None
    version = judged.version if serving else previous.get("version")
    url = _url(observed, judged)
    return {
        "conditions": [
            *(_condition(kind, verdict, judged.generation, previous, now) for kind, verdict in verdicts.items()),
            *(_unavailable(previous) if judged.missing is None else ()),
        ],
        "observedGeneration": judged.generation,
        "replicas": len([pod for pod in observed.pods if exists(pod)]),
        "selector": ",".join(f"{key}={value}" for key, value in sorted(pod_labels(judged.name).items())),
        **({"version": version} if version else {}),
        **({"url": url} if url else {}),
    }


def _verdicts(observed: Observed, judged: Judged, now: datetime) -> dict[str, Verdict]:
    failure = judged.failure
    accepted = (
        Verdict("False", failure.reason, failure.message)
        if failure
        else Verdict("True", c.OK_ACCEPTED, "the spec has been applied")
    )
    verdicts = {
        c.ACCEPTED: accepted,
        c.PREDICTOR_READY: predictor_verdict(observed, failure, now),
        c.ROUTES_READY: _routes(observed, judged),
    }
    verdicts[c.READY] = ready = _summary(verdicts)
    if ready.status != "True":
        kind = c.RECONCILING if ready.reason.waits and not ready.overdue else c.STALLED
        verdicts[kind] = Verdict("True", ready.reason, ready.message)
    for need in judged.missing or ():
        verdicts[need.feature.condition] = Verdict("True", c.NOT_INSTALLED, need.message)
    if judged.unsafe_formats:
        words = "allowUnsafeFormats: a pickle can run any code when it is opened, with what the predictor may do"
        verdicts[c.UNSAFE_FORMAT] = Verdict("True", c.UNSAFE_FORMATS_ALLOWED, words)
    return verdicts


def _unavailable(previous: Body) -> list[dict[str, Any]]:
    return [item for item in previous.get("conditions", []) if item["type"] in CONDITIONS]


def _summary(verdicts: dict[str, Verdict]) -> Verdict:
    worst = next(((kind, verdict) for kind, verdict in verdicts.items() if verdict.status != "True"), None)
    if worst is not None:
        kind, verdict = worst
        return Verdict("False", verdict.reason, f"{kind}: {verdict.message}", verdict.overdue)
    predictor = verdicts[c.PREDICTOR_READY]
    if predictor.reason is c.DEGRADED:
        return Verdict("True", c.DEGRADED, predictor.message)
    return Verdict("True", c.ALL_READY, "the model answers")


def _routes(observed: Observed, judged: Judged) -> Verdict:
    service, failure, url = observed.inference_service, judged.failure, _url(observed, judged)
    if service is None and failure:
        return Verdict("False", c.NOT_ACCEPTED, "nothing has been made; see the condition Accepted")
    if service is None:
        return Verdict("False", c.WAITING_FOR_ROUTES, "the InferenceService is being made")
    theirs = their_condition(service, "IngressReady")
    if theirs.get("status") == "True" and url and judged.tls:
        words = f"KServe's route speaks plain HTTP to the pods, which answer TLS alone: ask {url}"
        return Verdict("True", c.ROUTED_INSIDE, words)
    if theirs.get("status") == "True" and observed.rival:
        return Verdict("False", c.ROUTE_CONFLICT, f"{url} belongs to {observed.rival}, which had it first")
    if theirs.get("status") == "True" and url:
        return Verdict("True", c.ROUTED, "the model has a URL")
    return Verdict("False", c.WAITING_FOR_ROUTES, theirs.get("message") or "KServe has not made the routes yet")


def _url(observed: Observed, judged: Judged) -> str | None:
    """KServe's; of a predictor with TLS its Service's, because what KServe has put before that speaks plain HTTP to it."""
    service = observed.inference_service
    if service is None or not judged.tls:
        return url_of(service) if service else None
    inside = service.get("status", {}).get("address", {}).get("url")
    if inside is None:
        return None
    port = urlsplit(inside).port or _SERVICE_PORT
    return f"https://{judged.name}-predictor.{service['metadata']['namespace']}.svc.cluster.local:{port}"


def _was_tls(previous: Body) -> bool:
    return any(item["reason"] == c.ROUTED_INSIDE.name for item in previous.get("conditions", []))


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
