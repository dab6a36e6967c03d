"""Condition types and reasons. They are API: documented in docs/reference/conditions.md, added to, never renamed."""

from dataclasses import dataclass
from typing import Final, Literal

from moorage.api.features import CONDITIONS, FEATURES, GPU

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
"""The conditions that every ModelDeployment has. True is good."""

RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
UNSAFE_FORMAT: Final = "UnsafeFormat"

ABNORMAL: Final = {
    RECONCILING: "Ready is not True for now: it is being worked on, or will heal without anybody's doing.",
    STALLED: "Ready is not True, and somebody must act before it can be.",
    UNSAFE_FORMAT: "The spec lets the model's file run code when it is opened (`allowUnsafeFormats`).",
    **{each.condition: f"The spec asks for something that needs {each.name}, which is missing." for each in FEATURES},
    GPU.condition: "The spec asks for a GPU that no node offers.",
}
"""Conditions that are there only while they are True. The first two, with Ready's reason, are for tools that follow the
kstatus rules, as Flux does."""

ConditionStatus = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Reason:
    """One documented reason: its word, the condition types that use it, what it means and what to do."""

    name: str
    types: tuple[str, ...]
    meaning: str
    remedy: str
    waits: bool = False
    """Whether it may pass without anybody acting; if not, the deployment is `Stalled`."""

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
CONTESTED = Reason(
    "Contested",
    (ACCEPTED,),
    "Somebody writes a field of an object of ours back each time that it was restored. It is restored ever more seldom, at last "
    "once a minute.",
    "The message has the object, the field and who writes it: have that writer leave it alone, or set the field in the spec.",
)
KSERVE_UNAVAILABLE = Reason(
    "KServeUnavailable",
    (ACCEPTED,),
    "The cluster does not know the kinds InferenceService and ServingRuntime.",
    "Install KServe; the deployment goes on by itself.",
    waits=True,
)
APPLY_FAILED = Reason(
    "ApplyFailed",
    (ACCEPTED,),
    "The API server refused an object; the message has its words (a quota, a policy, a webhook).",
    "Remove the cause. It is tried again by itself, less and less often.",
    waits=True,
)
REPLACING = Reason(
    "ReplacingPredecessor",
    (ACCEPTED,),
    "Objects of a deleted ModelDeployment of the same name are still being removed.",
    "Wait; it goes on by itself within seconds.",
    waits=True,
)
NOT_ACCEPTED = Reason(
    "NotAccepted",
    (PREDICTOR_READY, ROUTES_READY),
    "The deployment was not accepted, so nothing was made for it.",
    "See the condition Accepted.",
)
SERVING = Reason("Serving", (PREDICTOR_READY,), "The model is loaded and answers.", "Nothing.")
DEGRADED = Reason(
    "Degraded",
    (PREDICTOR_READY, READY),
    "The model answers, but not with all of its copies. The condition is True; an event warns.",
    "The message has the worst trouble among the copies that do not answer: treat it as that reason.",
)
DEPLOYING = Reason(
    "Deploying",
    (PREDICTOR_READY,),
    "Pods are being created or are loading the model.",
    "Wait. If it lasts, look at the pods that the message names.",
    waits=True,
)
STOPPED = Reason(
    "Stopped",
    (PREDICTOR_READY,),
    "Somebody has stopped the InferenceService with KServe's annotation `serving.kserve.io/stop`.",
    "Take the annotation away.",
)
SCALED_TO_ZERO = Reason(
    "ScaledToZero",
    (PREDICTOR_READY,),
    "Somebody has scaled KServe's Deployment to 0. Its autoscaler leaves a Deployment at 0 alone.",
    "Scale it to the number that the message names; the autoscaler goes on from there.",
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
    "The message has the exit code and the last words; `kubectl logs POD --previous` has the rest.",
)
OUT_OF_MEMORY = Reason(
    "OutOfMemory",
    (PREDICTOR_READY,),
    "A container used more memory than its limit and was killed.",
    "Raise spec.predictor.resources.limits.memory; of the storage initializer, the limit in KServe's own configuration.",
)
IMAGE_PULL_FAILED = Reason(
    "ImagePullFailed",
    (PREDICTOR_READY,),
    "A node cannot pull the predictor image, or the image that holds the weights.",
    "Correct spec.predictor.image (or spec.model.storageUri), or name a pull secret in spec.predictor.imagePullSecrets.",
)
CONTAINER_CONFIG_FAILED = Reason(
    "ContainerConfigFailed",
    (PREDICTOR_READY,),
    "A node cannot make the container, for instance because a Secret that it names is missing.",
    "Make what the message names; the pod goes on by itself.",
)
NOT_ANSWERING = Reason(
    "NotAnswering",
    (PREDICTOR_READY,),
    "A container runs and was ready, and fails its readiness probe since.",
    "Read the log of the pod that the message names; `moor explain NAME` shows what the probe was told. Where no copy answers any "
    "request, its liveness probe fails too, and Kubernetes restarts it.",
    waits=True,
)
UNSCHEDULABLE = Reason(
    "Unschedulable",
    (PREDICTOR_READY,),
    "No node has room for a pod.",
    "Lower spec.predictor.resources.requests or add nodes; the message has the scheduler's words and what is asked for.",
    waits=True,
)
VOLUMES_NOT_MOUNTED = Reason(
    "VolumesNotMounted",
    (PREDICTOR_READY,),
    "A pod has a node, and has waited there for more than half a minute for its volumes or its network.",
    "Make the Secret or the PersistentVolumeClaim that the message names, if it is missing. `moor explain NAME` shows the events.",
    waits=True,
)
EVICTED = Reason(
    "Evicted",
    (PREDICTOR_READY,),
    "A node has ended a pod: it ran out of disk or memory, or the pod used more disk than its limit.",
    "The message has the node's words: raise spec.predictor.resources.limits.ephemeral-storage, or free the node.",
)
PODS_REFUSED = Reason(
    "PodsRefused",
    (PREDICTOR_READY,),
    "The API server refuses the pods: a quota, a LimitRange, a pod security level or a webhook.",
    "The message has its words and the numbers: raise the limit, or lower spec.predictor.resources or spec.scaling.",
)
ROLLOUT_STUCK = Reason(
    "RolloutStuck",
    (PREDICTOR_READY,),
    "Pods run, but none has become ready within the Deployment's deadline (KServe's: ten minutes).",
    "Look at the log of the pods; a large model may need more of spec.health.startup.",
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
ROUTED_INSIDE = Reason(
    "RoutedInside",
    (ROUTES_READY,),
    "With spec.predictor.tls the URL is that of the predictor's Service, in the cluster: KServe's route speaks plain HTTP to the pods.",
    "Nothing, if callers are in the cluster. Else let a Gateway speak TLS to the Service, for instance with a BackendTLSPolicy.",
)
WAITING_FOR_ROUTES = Reason(
    "WaitingForRoutes",
    (ROUTES_READY,),
    "KServe has not made the routes yet.",
    "Wait. If it lasts, the message has KServe's words.",
    waits=True,
)
ROUTE_CONFLICT = Reason(
    "RouteConflict",
    (ROUTES_READY,),
    "Another model had the same URL first. KServe makes its host of the name, '-' and the namespace, and two pairs may give one.",
    "Rename this ModelDeployment, or give KServe's `domainTemplate` a '.' between the two.",
)
ALL_READY = Reason("Ready", (READY,), "The model answers at status.url.", "Nothing.")
NOT_INSTALLED = Reason(
    "NotInstalled",
    CONDITIONS,
    "The spec asks for something that the cluster does not have. Everything else has been made.",
    "Install what the message names; it is picked up within a minute, a node within six, without a restart.",
)
UNSAFE_FORMATS_ALLOWED = Reason(
    "UnsafeFormatsAllowed",
    (UNSAFE_FORMAT,),
    "spec.model.allowUnsafeFormats is true: pickle and joblib files are opened, and what they hold runs as the predictor.",
    "Save the model in a format that cannot run code, and remove the field.",
)

PROGRESS: Final = frozenset({DEPLOYING.name, WAITING_FOR_ROUTES.name, REPLACING.name})
"""Reasons of a status that is False only for now: nobody has to act."""

REASONS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Reason))
