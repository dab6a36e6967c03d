"""Condition types and reasons. They are API: documented in docs/reference/conditions.md, added to, never renamed."""

from dataclasses import dataclass
from typing import Final, Literal

ACCEPTED: Final = "Accepted"
PREDICTOR_READY: Final = "PredictorReady"
ROUTES_READY: Final = "RoutesReady"
READY: Final = "Ready"

TYPES: Final = {
    ACCEPTED: "The spec can be acted on and the objects it asks for have been applied.",
    PREDICTOR_READY: "Enough predictor pods have loaded the model and answer.",
    ROUTES_READY: "The model has a URL that leads to the predictor.",
    READY: "The summary: True if all of the above are, else the reason and message of the first that is not.",
}

ConditionStatus = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Reason:
    """One documented reason: its word, the condition types that use it, what it means and what to do."""

    name: str
    types: tuple[str, ...]
    meaning: str
    remedy: str

    def __str__(self) -> str:
        return self.name


OK_ACCEPTED = Reason("Accepted", (ACCEPTED,), "The spec is valid and has been applied.", "Nothing.")
INVALID_SPEC = Reason(
    "InvalidSpec",
    (ACCEPTED,),
    "The stored object breaks a rule of the schema, for instance because it was made under an older CRD.",
    "Correct the field that the message names and apply again. What was serving keeps serving.",
)
NOT_YET_SUPPORTED = Reason(
    "NotYetSupported",
    (ACCEPTED,),
    "The spec asks for something that this version of Moorage knows and does not do yet.",
    "Remove the field that the message names. What was serving keeps serving.",
)
STORAGE_URI_FORBIDDEN = Reason(
    "StorageUriForbidden",
    (ACCEPTED,),
    "The storageUri names a place that a cluster must not read from: a node's files, an IP address, or localhost.",
    "Put the weights into an object store, a volume, a hub, an image or a package, and name that.",
)
CONFLICT = Reason(
    "Conflict",
    (ACCEPTED,),
    "An object that this deployment needs exists and belongs to somebody else. It is left alone.",
    "Rename the ModelDeployment, or remove the other object.",
)
KSERVE_UNAVAILABLE = Reason(
    "KServeUnavailable",
    (ACCEPTED,),
    "The cluster does not know the kinds InferenceService and ServingRuntime.",
    "Install KServe; the deployment goes on by itself.",
)
APPLY_FAILED = Reason(
    "ApplyFailed",
    (ACCEPTED,),
    "The API server refused an object; the message has its words (a quota, a policy, a webhook).",
    "Remove the cause. It is tried again by itself, less and less often.",
)
REPLACING = Reason(
    "ReplacingPredecessor",
    (ACCEPTED,),
    "Objects of a deleted ModelDeployment of the same name are still being removed.",
    "Wait; it goes on by itself within seconds.",
)
NOT_ACCEPTED = Reason(
    "NotAccepted",
    (PREDICTOR_READY, ROUTES_READY),
    "The deployment was not accepted, so nothing was made for it.",
    "See the condition Accepted.",
)
SERVING = Reason("Serving", (PREDICTOR_READY,), "The model is loaded and answers.", "Nothing.")
DEPLOYING = Reason(
    "Deploying",
    (PREDICTOR_READY,),
    "Pods are being created or are loading the model.",
    "Wait. If it lasts, look at the pods that the message names.",
)
MODEL_LOAD_FAILED = Reason(
    "ModelLoadFailed",
    (PREDICTOR_READY,),
    "The predictor could not load the model: a file is missing or corrupt, or does not fit the architecture.",
    "The message has the file and the cause: correct storageUri, architecture or the file.",
)
CRASH_LOOPING = Reason(
    "CrashLooping",
    (PREDICTOR_READY,),
    "The predictor ends again and again for another cause than the model.",
    "The message has the exit code; look at the pod's log.",
)
OUT_OF_MEMORY = Reason(
    "OutOfMemory",
    (PREDICTOR_READY,),
    "A pod used more memory than its limit and was killed.",
    "Raise spec.predictor.resources.limits.memory.",
)
IMAGE_PULL_FAILED = Reason(
    "ImagePullFailed",
    (PREDICTOR_READY,),
    "A node cannot pull the predictor image.",
    "Correct spec.predictor.image, or name a pull secret in spec.predictor.imagePullSecrets.",
)
CONTAINER_CONFIG_FAILED = Reason(
    "ContainerConfigFailed",
    (PREDICTOR_READY,),
    "A node cannot make the container, for instance because a Secret that it names is missing.",
    "Make what the message names; the pod goes on by itself.",
)
UNSCHEDULABLE = Reason(
    "Unschedulable",
    (PREDICTOR_READY,),
    "No node has room for a pod.",
    "Lower spec.predictor.resources.requests or add nodes; the message has the scheduler's words.",
)
STORAGE_FAILED = Reason(
    "StorageFailed",
    (PREDICTOR_READY,),
    "KServe's storage initializer could not fetch the model.",
    "The message has its words: correct storageUri, or name credentials in spec.model.storageSecret.",
)
INFERENCE_SERVICE_FAILED = Reason(
    "InferenceServiceFailed",
    (PREDICTOR_READY,),
    "KServe reports a failure of its own; the message has its reason and words.",
    "Look at the InferenceService.",
)
ROUTED = Reason("Routed", (ROUTES_READY,), "The model has a URL.", "Nothing.")
WAITING_FOR_ROUTES = Reason(
    "WaitingForRoutes",
    (ROUTES_READY,),
    "KServe has not made the routes yet.",
    "Wait. If it lasts, the message has KServe's words.",
)
ALL_READY = Reason("Ready", (READY,), "The model answers at status.url.", "Nothing.")

PROGRESS: Final = frozenset({DEPLOYING.name, WAITING_FOR_ROUTES.name, REPLACING.name})
"""Reasons of a status that is False only for now: nobody has to act."""

REASONS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Reason))
