"""A STAND-IN for the kubelet, in a test's own hands: it writes the statuses of pods that a kubelet would write.

`take(pod)` binds the pod to a node that does not exist, from when on KServe's stand-in leaves it alone; `say` writes its
status. The states are those that kubelet 1.34 was observed to write. On a lent cluster a pod whose node does not exist is
removed after 40 s; on ours nobody does that.
"""

from typing import Any

from tests.control_plane.client import Api

Object = dict[str, Any]

CONTAINER = "kserve-container"
INITIALIZER = "storage-initializer"
LOOP = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}
SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


class Kubelet:
    """Of one namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def take(self, pod: Object) -> None:
        """From now on this pod's status is written here alone."""
        name = pod["metadata"]["name"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": self._namespace},
            "target": {"kind": "Node", "name": "a-node-of-the-tests"},
        }
        self._api.request("POST", self._api.path("Pod", self._namespace, name) + "/binding", binding)

    def say(self, pod: Object, status: Object) -> None:
        """Write a status over the one that is there."""
        self._api.patch_status("Pod", self._namespace, pod["metadata"]["name"], status)


def ready() -> Object:
    """A pod that serves."""
    return {**_pod("Running", ready=True), "containerStatuses": [_container(CONTAINER, {"running": {}}, ready=True)]}


def crashing(code: int, reason: str = "Error", message: str = "", restarts: int = 3) -> Object:
    """The predictor ends again and again."""
    last = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return {
        **_pod("Running"),
        "containerStatuses": [_container(CONTAINER, LOOP, last=last, restarts=restarts)],
    }


def silent() -> Object:
    """The predictor runs, was ready, and no longer answers its probe."""
    running = {"running": {"startedAt": "2025-12-31T23:00:00Z"}}
    return {**_pod("Running"), "containerStatuses": [{**_container(CONTAINER, running), "started": True}]}


def initializer_crashing(message: str) -> Object:
    """KServe's storage initializer ends again and again; the message is the end of its log."""
    last = {"terminated": {"exitCode": 1, "reason": "Error", "message": message}}
    return {
        **_pod("Pending"),
        "initContainerStatuses": [_container(INITIALIZER, LOOP, last=last, restarts=2)],
        "containerStatuses": [_container(CONTAINER, {"waiting": {"reason": "PodInitializing"}})],
    }


def waiting(reason: str, message: str) -> Object:
    """The container cannot be made."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {**_pod("Pending"), "containerStatuses": [_container(CONTAINER, state)]}


def unschedulable(message: str) -> Object:
    """The scheduler's words. (A pod that is bound would not have them; only the words matter here.)"""
    scheduled = {**SCHEDULED, "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "containerStatuses": [], "conditions": [scheduled, _ready(False)]}


def without_volumes() -> Object:
    """It has a node, and nothing has been started there for long."""
    conditions = [SCHEDULED, {"type": "PodReadyToStartContainers", "status": "False"}, _ready(False)]
    state = {"waiting": {"reason": "ContainerCreating"}}
    return {"phase": "Pending", "conditions": conditions, "containerStatuses": [_container(CONTAINER, state)]}


def _pod(phase: str, *, ready: bool = False) -> Object:
    return {"phase": phase, "conditions": [SCHEDULED, _ready(ready)]}


def _ready(value: bool) -> Object:
    return {"type": "Ready", "status": str(value), "lastTransitionTime": "2026-01-01T00:00:00Z"}


def _container(
    name: str, state: Object, *, ready: bool = False, last: Object | None = None, restarts: int = 0
) -> Object:
    return {
        "name": name,
        "image": "example.com/predictor:1",
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": restarts,
        "state": state,
        **({"lastState": last} if last else {}),
    }
