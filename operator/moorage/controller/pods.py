"""Why a pod is not ready, in one sentence. KServe's own status does not say, so we look at the pods ourselves."""

from dataclasses import dataclass

from moorage.api.conditions import (
    CRASH_LOOPING,
    IMAGE_PULL_FAILED,
    MODEL_LOAD_FAILED,
    OUT_OF_MEMORY,
    STORAGE_FAILED,
    UNSCHEDULABLE,
    Reason,
)
from moorage.api.exit_codes import ExitCode
from moorage.controller.cluster import Body

_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"})
_STORAGE_INITIALIZER = "storage-initializer"


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a pod."""

    reason: Reason
    message: str


def worst_trouble(pods: list[Body]) -> Trouble | None:
    """The most telling trouble among a deployment's pods, or None. A pod's own end says more than its wait for a place."""
    found = [trouble for pod in pods if (trouble := _trouble(pod))]
    return min(found, key=lambda trouble: _ORDER.index(trouble.reason)) if found else None


_ORDER = (MODEL_LOAD_FAILED, STORAGE_FAILED, OUT_OF_MEMORY, IMAGE_PULL_FAILED, CRASH_LOOPING, UNSCHEDULABLE)


def _trouble(pod: Body) -> Trouble | None:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    if "deletionTimestamp" in pod["metadata"]:
        return None
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if not container.get("ready") and (trouble := _container_trouble(container, name)):
            return trouble
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Trouble(UNSCHEDULABLE, f"pod {name}: {condition.get('message', 'no node has room')}")
    return None


def _container_trouble(container: Body, pod: str) -> Trouble | None:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    if waiting.get("reason") in _PULL:
        return Trouble(
            IMAGE_PULL_FAILED, f"pod {pod}: {waiting['reason']}: {waiting.get('message', container.get('image', ''))}"
        )
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated")
    if not ended or (code := ended.get("exitCode", 0)) == 0:
        return None
    said = " ".join(str(ended.get("message", "")).split())[:1000]
    if ended.get("reason") == "OOMKilled":
        return Trouble(
            OUT_OF_MEMORY, f"pod {pod}: container {container['name']} was killed for using more memory than its limit"
        )
    if container["name"] == _STORAGE_INITIALIZER:
        return Trouble(STORAGE_FAILED, f"pod {pod}: the storage initializer ended with exit code {code}: {said}")
    if code == ExitCode.INVALID_INPUT:
        return Trouble(MODEL_LOAD_FAILED, f"pod {pod}: {said or 'the model could not be loaded; see the log'}")
    return Trouble(
        CRASH_LOOPING,
        f"pod {pod}: container {container['name']} ended with exit code {code}: {said or ended.get('reason', '')}",
    )
