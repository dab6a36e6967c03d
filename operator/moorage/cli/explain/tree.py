"""ModelDeployment -> InferenceService -> Deployment -> Pods, each with its state, its facts and its events. Pure.

`screen.py` draws the nodes for people; as JSON they are what `dataclasses.asdict` makes of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from moorage.api import conditions as c
from moorage.cli.explain.cause import Cause, condition, ready, trouble
from moorage.cli.explain.gather import Found, when
from moorage.cli.kube import Body
from moorage.controller.deployments import overdue, refusal_of_pods, unavailable
from moorage.controller.pods import exists, is_ready

EVENTS = 4
"""Events at most for each object, the latest."""

_OPERATOR = "moorage"
"""The source of the operator's own events. They repeat its conditions, which the tree has."""
_SUMMARIES = (c.READY, c.RECONCILING, c.STALLED)

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))

State = Literal["good", "waiting", "bad", "missing"]


@dataclass(frozen=True)
class Event:
    """One Kubernetes event."""

    type: str
    reason: str
    message: str
    count: int
    at: str


@dataclass(frozen=True)
class Node:
    """One object."""

    kind: str
    name: str
    state: State
    summary: str
    facts: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    children: tuple["Node", ...] = ()
    cause: bool = False


def tree(found: Found, cause: Cause | None, now: datetime) -> Node:
    """The whole tree, with the cause marked."""
    pods = tuple(_pod(pod, found, cause, now) for pod in found.pods)
    deployment = _deployment(found, cause, pods)
    service = _service(found, cause, deployment)
    return _model_deployment(found, cause, service, now)


def age(at: str, now: datetime) -> str:
    """How long ago, in the largest unit that fits: `2m`; empty if `at` is no time."""
    try:
        seconds = (now - datetime.fromisoformat(at)).total_seconds()
    except (TypeError, ValueError):  # without a timezone it cannot be compared
        return ""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), (1, "s"))
    return f"{max(seconds, 0) // size:.0f}{unit}"


def _model_deployment(found: Found, cause: Cause | None, service: Node, now: datetime) -> Node:
    body = found.model_deployment
    summary = ready(body)
    told_below = cause.reason if cause else ""
    facts = [
        f"{item['type']}: {item['reason']}: {item['message']}"
        for item in body.get("status", {}).get("conditions", [])
        if item["type"] not in _SUMMARIES
        # those two kinds say opposite things with True
        and ((item["status"] == "True") == (item["type"] in c.ABNORMAL) or item["reason"] == c.ROUTED_INSIDE.name)
        and item["reason"] != told_below
    ]
    words = "not looked at yet"
    if summary:
        since = age(summary.get("lastTransitionTime", ""), now)
        words = f"{summary['reason']} for {since}" if since else summary["reason"]
    state: State = _state(summary) if summary else "waiting"
    if url := body.get("status", {}).get("url"):
        facts.append(f"URL {url}")
    return _node("ModelDeployment", body, state, words, facts, found, cause, (service,))


def _service(found: Found, cause: Cause | None, deployment: Node) -> Node:
    body, name = found.inference_service, found.model_deployment["metadata"]["name"]
    if body is None:
        return Node("InferenceService", name, "missing", _absent(found, "InferenceServices"), children=(deployment,))
    summary = condition(body, "Ready")
    words = "KServe has said nothing yet: is its controller running?"
    if summary:
        words = "KServe says ready" if summary["status"] == "True" else f"KServe says: {_words(summary)}"
    facts = [
        f"{kind}: {_words(each)}"
        for kind in ("PredictorReady", "IngressReady")
        if (each := condition(body, kind)) and each["status"] != "True" and _words(each) != _words(summary)
    ]
    info = body.get("status", {}).get("modelStatus", {}).get("lastFailureInfo", {})
    if info:
        facts.append(f"last failure: {info.get('reason', '')}: {info.get('message', '')}")
    return _node("InferenceService", body, _state(summary), words, facts, found, cause, (deployment,))


def _deployment(found: Found, cause: Cause | None, pods: tuple[Node, ...]) -> Node:
    body, name = found.deployment, f"{found.model_deployment['metadata']['name']}-predictor"
    if body is None:
        return Node("Deployment", name, "missing", _absent(found, "Deployments"), children=pods)
    status, wanted = body.get("status", {}), body["spec"].get("replicas", 1)
    good = status.get("readyReplicas", 0)
    refused, short = refusal_of_pods(body), unavailable(body)
    facts = [words for words in (refused and refused[0], short) if words]
    if overdue(body):
        facts.append("the deadline for its rollout has passed")
    state: State = "good" if good >= wanted and not facts else "bad" if facts else "waiting"
    words = f"{good} of {wanted} copies ready, {status.get('updatedReplicas', 0)} with the latest change"
    return _node("Deployment", body, state, words, facts, found, cause, pods)


def _pod(body: Body, found: Found, cause: Cause | None, now: datetime) -> Node:
    name = body["metadata"]["name"]
    what = trouble(body, now)
    if what:
        return _node("Pod", body, "bad", what.reason.name, [what.said, f"what to do: {what.fix}"], found, cause)
    if is_ready(body):
        return _node("Pod", body, "good", "ready", [], found, cause)
    words = "ending" if "deletionTimestamp" in body["metadata"] else body.get("status", {}).get("phase", "Pending")
    state: State = "waiting" if exists(body) else "missing"
    facts = [
        f"container {each['name']}: {reason}"
        for each in body.get("status", {}).get("containerStatuses", [])
        if (reason := each.get("state", {}).get("waiting", {}).get("reason"))
    ]
    running = any("running" in each.get("state", {}) for each in body.get("status", {}).get("containerStatuses", []))
    if running and state == "waiting":
        facts.append(f"it runs and is not ready yet: `kubectl logs {name}` shows how far it is")
    return _node("Pod", body, state, words, facts, found, cause)


def _node(
    kind: str,
    body: Body,
    state: State,
    summary: str,
    facts: Iterable[str],
    found: Found,
    cause: Cause | None,
    children: tuple[Node, ...] = (),
) -> Node:
    name = body["metadata"]["name"]
    marked = cause is not None and (cause.kind, cause.name) == (kind, name)
    lines = list(facts)
    if marked and cause is not None and kind != "Pod":
        lines = [line for line in lines if cause.message not in line]
        lines += [words for words in (cause.message, f"what to do: {cause.fix}" if cause.fix else "") if words]
    events = _events(found.events.get(body["metadata"]["uid"], []), only_warnings=state == "good")
    return Node(kind, name, state, summary, tuple(lines), events, children, marked)


def _events(events: list[Body], *, only_warnings: bool) -> tuple[Event, ...]:
    others = [event for event in events if event.get("source", {}).get("component") != _OPERATOR]
    kept = [event for event in others if event.get("type") == "Warning" or not only_warnings]
    return tuple(
        Event(
            event.get("type", "Normal"),
            event.get("reason", ""),
            " ".join(str(event.get("message", "")).split()),
            (event.get("series") or {}).get("count") or event.get("count") or 1,
            when(event),
        )
        for event in kept[-EVENTS:]
    )


def _state(summary: Body) -> State:
    if not summary:
        return "waiting"
    if summary["status"] == "True":
        return "bad" if summary.get("reason") == c.DEGRADED.name else "good"
    return "waiting" if summary["status"] == "Unknown" or summary.get("reason") in c.PROGRESS else "bad"


def _words(condition: Body) -> str:
    said = ": ".join(filter(None, [condition.get("reason"), condition.get("message")]))
    return str(said or condition.get("status", "Unknown"))


def _absent(found: Found, what: str) -> str:
    return f"you may not read {what}" if what in found.unread else "there is none yet"
