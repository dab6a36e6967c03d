"""Why a pod is not ready, in one sentence. KServe's own status does not say, so we look at the pods ourselves.

`predictor.py` asks for the worst trouble of all pods, `moor explain` for that of each.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moorage.api.conditions import (
    CONTAINER_CONFIG_FAILED,
    CRASH_LOOPING,
    EVICTED,
    IMAGE_PULL_FAILED,
    MODEL_LOAD_FAILED,
    NOT_ANSWERING,
    OUT_OF_MEMORY,
    STORAGE_FAILED,
    UNSCHEDULABLE,
    VOLUMES_NOT_MOUNTED,
    Reason,
)
from moorage.api.exit_codes import ExitCode
from moorage.controller.endings import last_words, meaning

Body = dict[str, Any]

VOLUMES_S = 30.0
"""Longer than a volume takes where nothing is wrong; until then a wait for one is not told."""

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_STORAGE_INITIALIZER = "storage-initializer"
_PREDICTOR = "kserve-container"
_MODEL_IMAGES = ("modelcar", "modelcar-init")


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a pod: the reason, the facts with the limit that was met, and what to do."""

    reason: Reason
    pod: str
    said: str
    fix: str

    @property
    def message(self) -> str:
        """All of it, for a condition."""
        return f"pod {self.pod}: {self.said}: {self.fix}"


_ORDER = (
    MODEL_LOAD_FAILED,
    STORAGE_FAILED,
    OUT_OF_MEMORY,
    IMAGE_PULL_FAILED,
    CONTAINER_CONFIG_FAILED,
    CRASH_LOOPING,
    NOT_ANSWERING,
    EVICTED,
    VOLUMES_NOT_MOUNTED,
    UNSCHEDULABLE,
)
"""The most telling first. A pod's own end says more than its wait for a place."""


def worst_trouble(pods: list[Body], now: datetime) -> Trouble | None:
    """The most telling trouble among some pods, or None."""
    found = [trouble for pod in pods if (trouble := trouble_of(pod, now))]
    return min(found, key=lambda trouble: _ORDER.index(trouble.reason)) if found else None


def exists(pod: Body) -> bool:
    """Not one that is going, or that has ended for good (evicted, for instance) and is only kept for its story."""
    return "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") not in (
        "Failed",
        "Succeeded",
    )


def is_ready(pod: Body) -> bool:
    """Whether Kubernetes sends it requests."""
    return exists(pod) and _condition(pod, "Ready").get("status") == "True"


def waits_until(pod: Body) -> datetime | None:
    """When a pod that waits for its volumes or its network will have waited for too long; None if it does not wait."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") != "True" or _condition(pod, "PodReadyToStartContainers").get("status") != "False":
        return None
    since = _time(scheduled.get("lastTransitionTime"))
    return datetime.fromtimestamp(since.timestamp() + VOLUMES_S, since.tzinfo) if since else None


def trouble_of(pod: Body, now: datetime) -> Trouble | None:
    """What is wrong with one pod, or None if it serves or is on its way."""
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    if status.get("phase") == "Failed" and status.get("reason") == "Evicted":
        words = last_words(status.get("message", "")) or "the node has ended it"
        return Trouble(EVICTED, name, f"evicted: {words}", "free the node, or give the pod more of what ran out")
    if not exists(pod):
        return None
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if not container.get("ready") and (trouble := _container_trouble(container, pod)):
            return trouble
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        said = f"{scheduled.get('message', 'no node has room')} (it asks for {_asked_for(pod)})"
        return Trouble(UNSCHEDULABLE, name, said, "lower spec.predictor.resources.requests, or add nodes")
    until = waits_until(pod)
    if until and now >= until:
        return Trouble(
            VOLUMES_NOT_MOUNTED, name, f"it waits for {_volumes(pod)}", "make what is missing; it goes on by itself"
        )
    return None


def _container_trouble(container: Body, pod: Body) -> Trouble | None:
    name, pod_name = container["name"], pod["metadata"]["name"]
    waiting = container.get("state", {}).get("waiting", {})
    why, words = waiting.get("reason"), " ".join(str(waiting.get("message", "")).split())
    if why in _PULL:
        image = container.get("image", "")
        said = ": ".join(filter(None, [why, "" if image in words else image, words]))
        fix = (
            "correct spec.model.storageUri"
            if name in _MODEL_IMAGES
            else "correct spec.predictor.image, or name a pull secret in spec.predictor.imagePullSecrets"
        )
        return Trouble(IMAGE_PULL_FAILED, pod_name, said, fix)
    if why in _CONFIG:
        return Trouble(
            CONTAINER_CONFIG_FAILED, pod_name, f"{why}: {words}", "make what is missing; it goes on by itself"
        )
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
    if not ended or (ended.get("exitCode", 0) == 0 and why != "CrashLoopBackOff"):  # an end in order, as after a drain
        return _silence(container, pod)
    return _end_trouble(container, ended, pod)


def _silence(container: Body, pod: Body) -> Trouble | None:
    """Of a container that was ready and no longer is. One that has not been ready yet runs in a pod that was unready before."""
    since = _condition(pod, "Ready").get("lastTransitionTime")
    unready, running = _time(since), _time(container.get("state", {}).get("running", {}).get("startedAt"))
    if not container.get("started") or not unready or not running or unready <= running:
        return None
    name, pod_name = container["name"], pod["metadata"]["name"]
    said = f"container {name} runs, and has failed its readiness probe since {since}"
    return Trouble(NOT_ANSWERING, pod_name, said, f"read `kubectl logs {pod_name} -c {name}`")


def _end_trouble(container: Body, ended: Body, pod: Body) -> Trouble:
    name, pod_name, code = container["name"], pod["metadata"]["name"], ended.get("exitCode", 0)
    said = last_words(ended.get("message", ""))
    again = f" (restarted {container['restartCount']} times)" if container.get("restartCount", 0) > 1 else ""
    if ended.get("reason") == "OOMKilled":
        limit = _limit(pod, name)
        fix = (
            "raise spec.predictor.resources.limits.memory"
            if name == _PREDICTOR
            else f"raise the memory of {name} in KServe's ConfigMap inferenceservice-config"
        )
        more = f"its limit of {limit}" if limit else "its limit"
        return Trouble(
            OUT_OF_MEMORY, pod_name, f"container {name} was killed for using more memory than {more}{again}", fix
        )
    if name == _STORAGE_INITIALIZER:
        what = f"the storage initializer ended with exit code {code}{again}: {said or meaning(code)}"
        return Trouble(
            STORAGE_FAILED,
            pod_name,
            what,
            "correct spec.model.storageUri, or name credentials in spec.model.storageSecret",
        )
    if name == _PREDICTOR and code == ExitCode.INVALID_INPUT:
        what = said or "the model could not be loaded; its log says why"
        return Trouble(MODEL_LOAD_FAILED, pod_name, f"{what}{again}", "correct the file, or the field of spec.model")
    what = f"container {name} ended with exit code {code}{again}: {said or meaning(code) or ended.get('reason', '')}"
    return Trouble(CRASH_LOOPING, pod_name, what, f"read `kubectl logs {pod_name} -c {name} --previous`")


def _condition(pod: Body, kind: str) -> Body:
    return next((item for item in pod.get("status", {}).get("conditions", []) if item.get("type") == kind), {})


def _limit(pod: Body, container: str) -> str | None:
    spec = pod.get("spec", {})
    for item in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        if item.get("name") == container:
            limit: str | None = item.get("resources", {}).get("limits", {}).get("memory")
            return limit
    return None


def _asked_for(pod: Body) -> str:
    """What the scheduler looks for, of the containers that say so: `cpu 2, memory 4Gi`."""
    words = [
        f"{name} {amount}"
        for container in pod.get("spec", {}).get("containers", [])
        for name, amount in container.get("resources", {}).get("requests", {}).items()
    ]
    return ", ".join(words) or "no resources"


def _volumes(pod: Body) -> str:
    """Those of its volumes that may be missing."""
    found = []
    for volume in pod.get("spec", {}).get("volumes", []):
        if secret := volume.get("secret"):
            found.append(f"Secret {secret.get('secretName')}")
        elif claim := volume.get("persistentVolumeClaim"):
            found.append(f"PersistentVolumeClaim {claim.get('claimName')}")
        elif config := volume.get("configMap"):
            found.append(f"ConfigMap {config.get('name')}")
    return ", ".join(found) or "its volumes or its network"


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None
