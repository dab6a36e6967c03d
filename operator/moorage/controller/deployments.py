"""What KServe's Deployment says of itself: how far the latest change has come, and why no pod could be made. Pure.

`predictor.py` and `moor explain` read it.
"""

from typing import Any

from moorage.render import POD_HASH

Body = dict[str, Any]


def unseen(deployment: Body, wanted_hash: str | None) -> str | None:
    """Who has not acted on the latest change, or None: what pods and conditions tell is of the change before then.

    KServe's `status.observedGeneration` is the Deployment's, not the InferenceService's, so it cannot tell. Its Deployment
    can: it carries our hash once KServe has acted, and counts the pods that have it.
    """
    if pod_hash(deployment["spec"]["template"]) != wanted_hash:
        return "KServe has not acted on the latest change yet"
    if deployment.get("status", {}).get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "the Deployment has not acted on the latest change yet"
    return None


def unfinished(deployment: Body, wanted_hash: str | None) -> str | None:
    """What of the latest change is still missing, or None."""
    if words := unseen(deployment, wanted_hash):
        return words
    status = deployment.get("status", {})
    if status.get("updatedReplicas", 0) < status.get("replicas", 0):
        return f"{status.get('updatedReplicas', 0)} of {status['replicas']} pods have the latest change"
    return None


def unavailable(deployment: Body) -> str | None:
    """Why it has too few copies, by its own count, or None."""
    words = _says(deployment, "Available", "False")
    return None if words is None else words or "the Deployment has too few copies"


def overdue(deployment: Body) -> bool:
    """Whether a rollout has not ended within the Deployment's own deadline."""
    return _says(deployment, "Progressing", "False") is not None


def refusal_of_pods(deployment: Body) -> tuple[str, str] | None:
    """Why no pod can be made, in the API server's words, and what to do; None if pods can be made."""
    words = _says(deployment, "ReplicaFailure", "True")
    return None if words is None else (words, fix_of_refusal(words) or "remove what refuses it")


def pod_hash(pod: Body) -> str | None:
    """Our annotation on a pod or on the template of pods; equal where the pods need not be replaced."""
    found: str | None = pod["metadata"].get("annotations", {}).get(POD_HASH)
    return found


def fix_of_refusal(words: str) -> str | None:
    """What to do where the API server refuses an object in these words; None if they say nothing that is known."""
    return next((fix for sign, fix in _FIXES if sign in words), None)


_FIXES = (
    ("exceeded quota", "raise the ResourceQuota, or lower spec.predictor.resources or spec.scaling"),
    ("must specify", "let a LimitRange of the namespace have defaults for what the container does not say"),
    ("violates PodSecurity", "allow it in the namespace's pod-security labels"),
    (" per Container ", "raise the LimitRange, or change spec.predictor.resources"),
    (" per Pod ", "raise the LimitRange, or change spec.predictor.resources"),
    ("failed calling webhook", "the webhook's own server does not answer: see that its pods run"),
    ("denied the request", "that webhook's rule forbids it: ask who runs it"),
)


def _says(deployment: Body, kind: str, status: str) -> str | None:
    for item in deployment.get("status", {}).get("conditions", []):
        if item.get("type") == kind and item.get("status") == status:
            return str(item.get("message", ""))
    return None
