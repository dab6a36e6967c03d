"""Why a pod is not ready, in one sentence. KServe's own status does not say, so we look at the pods ourselves."""

from dataclasses import dataclass

from moorage.api.conditions import (
    CONTAINER_CONFIG_FAILED,
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
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_STORAGE_INITIALIZER = "storage-initializer"
_PREDICTOR = "kserve-container"


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a pod."""

    reason: Reason
    message: str


def worst_trouble(pods: list[Body]) -> Trouble | None:
    """The most telling trouble among a deployment's pods, or None. A pod's own end says more than its wait for a place."""
    found = [trouble for pod in pods if (trouble := _trouble(pod))]
    return min(found, key=lambda trouble: _ORDER.index(trouble.reason)) if found else None


_ORDER = (
    MODEL_LOAD_FAILED,
    STORAGE_FAILED,
    OUT_OF_MEMORY,
    IMAGE_PULL_FAILED,
    CONTAINER_CONFIG_FAILED,
    CRASH_LOOPING,
    UNSCHEDULABLE,
)


def _trouble(pod: Body) -> Trouble | None:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if not container.get("ready") and (trouble := _container_trouble(container, name)):
            return trouble
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Trouble(UNSCHEDULABLE, f"pod {name}: {condition.get('message', 'no node has room')}")
    return None


def _container_trouble(container: Body, pod: str) -> Trouble | None:
    waiting = container.get("state", {}).get("waiting", {})
    why, words = waiting.get("reason"), waiting.get("message", "")
    if why in _PULL:
        return Trouble(IMAGE_PULL_FAILED, f"pod {pod}: {why}: {words or container.get('image', '')}")
    if why in _CONFIG:
        return Trouble(CONTAINER_CONFIG_FAILED, f"pod {pod}: {why}: {words}")
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
    if not ended or (ended.get("exitCode", 0) == 0 and why != "CrashLoopBackOff"):
        return None  # an end in order, as after a drain
    return _end_trouble(container["name"], ended, pod)


def _end_trouble(container: str, ended: Body, pod: str) -> Trouble:
    code = ended.get("exitCode", 0)
    said = " ".join(str(ended.get("message", "")).split())[:1000]
    if ended.get("reason") == "OOMKilled":
        return Trouble(
            OUT_OF_MEMORY, f"pod {pod}: container {container} was killed for using more memory than its limit"
        )
    if container == _STORAGE_INITIALIZER:
        return Trouble(STORAGE_FAILED, f"pod {pod}: the storage initializer ended with exit code {code}: {said}")
    if container == _PREDICTOR and code == ExitCode.INVALID_INPUT:
        return Trouble(MODEL_LOAD_FAILED, f"pod {pod}: {said or 'the model could not be loaded; see the log'}")
    words = said or ended.get("reason", "")
    return Trouble(CRASH_LOOPING, f"pod {pod}: container {container} ended with exit code {code}: {words}")
