"""A STAND-IN for KServe 0.20's controller in Standard mode. It is not KServe, and nothing imports it.

KServe's own controller cannot be installed beside a bare test control plane, so this process plays it: it makes the
children of an InferenceService and writes its status. It runs under its own ServiceAccount with the rights in
kserve_standin_rbac/ and no more. On a cluster that has the real controller it is not started, and the same tests use
that one.

    python tests/contract/kserve_standin.py --kubeconfig FILE [--namespace NAMESPACE]

What it copies from the real one:

- The runtime: `predictor.model.runtime` as ServingRuntime of the namespace, then ClusterServingRuntime; without it the
  first autoSelect runtime that supports the modelFormat. Its container merged with the model's, args appended,
  `{{.Name}}` and its like replaced.
- Deployment, Service (80 -> 8080) and HorizontalPodAutoscaler, all `NAME-predictor`, and Ingress `NAME` once the
  predictor is ready; labels, owner references, field manager of its own. With autoscalerClass none
  the Deployment has minReplicas, always. Else it begins with 1, whatever minReplicas says, and the count is the
  autoscaler's: the HPA's, or (external, keda: no HPA) somebody else's.
- Conditions PredictorReady (from the Deployment's own conditions, by the real one's precedence), IngressReady, Ready
  and Stopped; url, address, deploymentMode, modelStatus, copies, the runtime's name.
- observedGeneration is that of the Deployment, not of the InferenceService. So it is in the real one.
- A spec that it refuses leaves the children of the last good one alone.
- `serving.kserve.io/stop: "true"` removes the children.
- `canaryTrafficPercent` is ignored.

Where it differs:

- Refused specs (missing or disabled runtime, no runtime, unknown storage scheme) get PredictorReady and Ready False
  with a reason. The real one fills `modelStatus` alike (but for the scheme), leaves the conditions as they were and
  emits an Event.
- min > max is refused by the real one's webhook when it is written; here it is stored and gets a False condition.
- The webhooks' work on pods and specs is done in the Deployment itself (storage-initializer container, PVC volume),
  and defaults are not written back into the InferenceService.
- No finalizer, no Events, no credentials, no transformer, explainer, canary, worker, modelcar, KEDA object, Knative
  mode, Gateway API, batcher, logger; one framework-neutral `predictor.model`, or bare `predictor.containers`.

It plays the kubelet too, because the test plane has no nodes, and only for pods that carry KServe's label and are on no
node. They turn Running and Ready at once, unless

- a container's image contains the word `bad-image`: Pending with ImagePullBackOff, for ever;
- the InferenceService has the annotation `standin.moorage.dev/hold: "true"`: not Ready until that is taken away.

ReplicaSets, availability, rollouts, the HPA's bounds and garbage collection are the real controllers' work.

Each InferenceService is a key in a queue; every event about it or its children puts the key there; a worker reads the
caches, decides, and writes only what differs.
"""

import argparse
import asyncio
import base64
import copy
import datetime
import json
import logging
import re
import signal
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Object = dict[str, Any]
Key = tuple[str, str]  # namespace and name of an InferenceService

log = logging.getLogger("kserve-standin")

GROUP = "serving.kserve.io"
OWNER_LABEL = f"{GROUP}/inferenceservice"
AUTOSCALER_CLASS = f"{GROUP}/autoscalerClass"
DEPLOYMENT_MODE = f"{GROUP}/deploymentMode"
STOP = f"{GROUP}/stop"
HOLD = "standin.moorage.dev/hold"
BAD_IMAGE = "bad-image"
CONTAINER = "kserve-container"
MODEL_DIR = "/mnt/models"
STORAGE_INITIALIZER_IMAGE = "kserve/storage-initializer:v0.20.0"
INGRESS_DOMAIN = "example.com"
FIELD_MANAGER = "kserve-standin"
DEFAULT_CPU_UTILIZATION = 80
WORKERS = 12
RETRY_S = 1.0
RELIST_S = 0.5
WATCH_TIMEOUT_S = 300
STORAGE_SCHEMES = re.compile(r"^(s3|gs|gcs|hf|pvc|oci|hdfs|webhdfs|file)://.+|^https?://.+|^/", re.IGNORECASE)
DROPPED_ANNOTATIONS = {"kubectl.kubernetes.io/last-applied-configuration", HOLD}
COMPONENT_FIELDS = {  # of `predictor`: everything else in it is pod spec
    "model", "minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling",
    "containerConcurrency", "timeout", "canaryTrafficPercent", "logger", "batcher", "labels", "annotations",
    "deploymentStrategy", "workerSpec", "storageUris", "storageContainerName", "containers", "name",
}  # fmt: skip
MODEL_FIELDS = {"modelFormat", "protocolVersion", "runtime", "runtimeVersion", "storage", "storageUri", "name"}
RUNTIME_POD_FIELDS = {
    "affinity",
    "hostIPC",
    "imagePullSecrets",
    "nodeSelector",
    "schedulerName",
    "tolerations",
    "volumes",
}


class ApiError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Refused(Exception):
    """The spec cannot be served; what is said here goes into the status."""

    def __init__(self, reason: str, message: str, failure: str | None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.failure = failure  # lastFailureInfo.reason, one of the CRD's enum, or None


@dataclass(frozen=True)
class Resource:
    """One kind that is watched; children and pods only with KServe's label."""

    kind: str
    api_version: str
    plural: str
    labelled: bool = True
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{middle}/{self.plural}" + (f"/{name}" if name else "")


ISVC = Resource("InferenceService", f"{GROUP}/v1beta1", "inferenceservices", labelled=False)
RUNTIME = Resource("ServingRuntime", f"{GROUP}/v1alpha1", "servingruntimes", labelled=False)
CLUSTER_RUNTIME = Resource(
    "ClusterServingRuntime", f"{GROUP}/v1alpha1", "clusterservingruntimes", labelled=False, namespaced=False
)
DEPLOYMENT = Resource("Deployment", "apps/v1", "deployments")
SERVICE = Resource("Service", "v1", "services")
HPA = Resource("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers")
INGRESS = Resource("Ingress", "networking.k8s.io/v1", "ingresses")
POD = Resource("Pod", "v1", "pods")
CHILDREN = {each.kind: each for each in (DEPLOYMENT, SERVICE, HPA, INGRESS)}


# --- The API server ---------------------------------------------------------------------------------------------------


class Api:
    """One HTTP session with a kubeconfig's token or client certificate."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        current = config.get("current-context")
        context = next(each["context"] for each in config["contexts"] if each["name"] == current)
        cluster = next(each["cluster"] for each in config["clusters"] if each["name"] == context["cluster"])
        user = next(each["user"] for each in config["users"] if each["name"] == context["user"])
        self.url = cluster["server"].rstrip("/")
        ca = cluster.get("certificate-authority-data")
        self._ssl = ssl.create_default_context(
            cafile=cluster.get("certificate-authority"), cadata=base64.b64decode(ca).decode() if ca else None
        )
        if not user.get("token"):
            raise SystemExit(f"{kubeconfig}: expected a user with a token, found {sorted(user)}")
        self._headers = {"Authorization": f"Bearer {user['token']}", "User-Agent": "kserve-standin"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Api":
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=64)
        self._session = aiohttp.ClientSession(self.url, headers=self._headers, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the session is not open")
        return self._session

    async def call(
        self, method: str, path: str, body: object = None, content_type: str = "application/json", **query: str
    ) -> Any:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        timeout = aiohttp.ClientTimeout(total=30)
        async with self.session.request(
            method, path, params=query, data=data, headers=headers, timeout=timeout
        ) as answer:
            parsed = await answer.json(content_type=None)
            if answer.status >= 400:
                message = parsed.get("message", "") if isinstance(parsed, dict) else str(parsed)
                raise ApiError(answer.status, message)
            return parsed

    async def apply(self, resource: Resource, obj: Object, manager: str = FIELD_MANAGER) -> Object:
        path = resource.path(obj["metadata"]["namespace"], obj["metadata"]["name"])
        return await self.call("PATCH", path, obj, "application/apply-patch+yaml", fieldManager=manager, force="true")


class Store:
    """A watched copy of one kind. `changed(object)` is called for every object that came, changed or went."""

    def __init__(self, api: Api, resource: Resource, namespace: str | None, changed: Callable[[Object], None]) -> None:
        self._api = api
        self._resource = resource
        self._path = resource.path(namespace)
        self._changed = changed
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()

    def get(self, namespace: str, name: str) -> Object | None:
        return self.objects.get((namespace, name))

    def put(self, obj: Object) -> bool:
        """Keep the newer of what we have and what we got; our own writes come back before the watch tells of them."""
        key = key_of(obj)
        known = self.objects.get(key)
        if known is not None and version(known) >= version(obj):
            return False
        self.objects[key] = obj
        return True

    def drop(self, obj: Object) -> None:
        known = self.objects.get(key_of(obj))
        if known is not None and version(known) <= version(obj):
            del self.objects[key_of(obj)]

    async def run(self) -> None:
        while True:
            try:
                await self._watch(await self._list())
            except (aiohttp.ClientError, TimeoutError, OSError, ApiError, ValueError) as error:
                log.info("%s: watch broke (%s); listing again", self._resource.plural, error)
                await asyncio.sleep(RELIST_S)

    def _query(self) -> dict[str, str]:
        return {"labelSelector": OWNER_LABEL} if self._resource.labelled else {}

    async def _list(self) -> str:
        answer = await self._api.call("GET", self._path, **self._query())
        items = {key_of(item): item for item in answer["items"]}
        gone = [obj for key, obj in self.objects.items() if key not in items]
        self.objects = items
        self.synced.set()
        for obj in [*gone, *items.values()]:
            self._changed(obj)
        return answer["metadata"]["resourceVersion"]

    async def _watch(self, resource_version: str) -> None:
        query = self._query() | {
            "watch": "1",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_TIMEOUT_S),
            "allowWatchBookmarks": "true",
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_TIMEOUT_S + 30)
        async with self._api.session.get(self._path, params=query, timeout=timeout) as answer:
            if answer.status >= 400:
                raise ApiError(answer.status, await answer.text())
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))

    def _take(self, event: Object) -> None:
        obj = event["object"]
        if event["type"] == "ERROR":
            raise ApiError(obj.get("code", 500), obj.get("message", ""))
        if event["type"] == "BOOKMARK":
            return
        if event["type"] == "DELETED":
            self.drop(obj)
        elif not self.put(obj):
            return
        self._changed(obj)


def key_of(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- What the children look like (pure) -------------------------------------------------------------------------------


def predictor_name(isvc: Object) -> str:
    return f"{isvc['metadata']['name']}-predictor"


def annotations_of(isvc: Object) -> dict[str, str]:
    return isvc["metadata"].get("annotations") or {}


def min_replicas(isvc: Object) -> int:
    value = isvc["spec"]["predictor"].get("minReplicas")
    return 1 if value is None else value


def autoscaler_class(isvc: Object) -> str:
    predictor = isvc["spec"]["predictor"].get("annotations") or {}
    return predictor.get(AUTOSCALER_CLASS) or annotations_of(isvc).get(AUTOSCALER_CLASS) or "hpa"


def is_stopped(isvc: Object) -> bool:
    return annotations_of(isvc).get(STOP, "").lower() == "true"


def object_meta(isvc: Object, name: str, runtime: Object) -> Object:
    """Labels and annotations: the predictor's win over the InferenceService's, those over the runtime's."""
    predictor = isvc["spec"]["predictor"]
    labels = {
        **(runtime.get("labels") or {}),
        **(isvc["metadata"].get("labels") or {}),
        **(predictor.get("labels") or {}),
    }
    labels |= {OWNER_LABEL: isvc["metadata"]["name"], "component": "predictor", "app": f"isvc.{predictor_name(isvc)}"}
    annotations = {
        **(runtime.get("annotations") or {}),
        **annotations_of(isvc),
        **(predictor.get("annotations") or {}),
    }
    return {
        "name": name,
        "namespace": isvc["metadata"]["namespace"],
        "labels": labels,
        "annotations": {key: value for key, value in annotations.items() if key not in DROPPED_ANNOTATIONS},
        "ownerReferences": [
            {
                "apiVersion": ISVC.api_version,
                "kind": ISVC.kind,
                "name": isvc["metadata"]["name"],
                "uid": isvc["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def merged_container(base: Object, over: Object) -> Object:
    """The model's fields over the runtime's: arguments appended, lists of named things joined by their key."""
    merged = copy.deepcopy(base)
    for field, value in over.items():
        if field == "args":
            merged["args"] = [*merged.get("args", []), *value]
        elif field in ("env", "volumeMounts", "ports"):
            id_ = {"env": "name", "volumeMounts": "mountPath", "ports": "containerPort"}[field]
            joined = {each[id_]: each for each in merged.get(field, [])} | {each[id_]: each for each in value}
            merged[field] = list(joined.values())
        elif field == "resources":
            base_resources = merged.get("resources") or {}
            merged["resources"] = base_resources | {
                part: (base_resources.get(part) or {}) | amounts if isinstance(amounts, dict) else amounts
                for part, amounts in value.items()
            }
        else:
            merged[field] = value
    return merged


def filled_in(value: Any, isvc: Object) -> Any:
    """Replace the runtime's placeholders by the InferenceService's metadata, as Go's text/template does, in one pass."""
    metadata = isvc["metadata"]
    fields = {".Name": metadata["name"], ".Namespace": metadata["namespace"]}
    for word, key in ((".Labels", "labels"), (".Annotations", "annotations")):
        fields |= {f"{word}.{name}": text for name, text in (metadata.get(key) or {}).items()}

    def action(match: re.Match[str]) -> str:
        words = match[1].strip()
        if len(words) > 1 and words[0] == words[-1] == "`":
            return words[1:-1]
        if not re.fullmatch(r"\.(Name|Namespace|(Labels|Annotations)\.[\w-]+)", words):
            raise Refused("InvalidPredictorSpec", f"template: container-tmpl: {match[0]}", "InvalidPredictorSpec")
        return json.dumps(fields.get(words, ""))[1:-1]

    return json.loads(re.sub(r"\{\{(.*?)\}\}", action, json.dumps(value)))


def pod_spec(isvc: Object, runtime: Object) -> Object:
    predictor = isvc["spec"]["predictor"]
    model = predictor.get("model")
    spec = {field: copy.deepcopy(runtime[field]) for field in RUNTIME_POD_FIELDS if runtime.get(field) is not None}
    for field, value in predictor.items():
        if field in COMPONENT_FIELDS:
            continue
        if field in ("volumes", "tolerations", "imagePullSecrets"):
            spec[field] = [*spec.get(field, []), *value]
        elif field == "nodeSelector":
            spec[field] = {**spec.get(field, {}), **value}
        else:
            spec[field] = copy.deepcopy(value)
    extra = list(predictor.get("containers") or [])
    if model is None:
        main, *extra = copy.deepcopy(extra)
        main["name"] = CONTAINER
    else:
        containers = runtime.get("containers") or []
        base = next((each for each in containers if each["name"] == CONTAINER), None)
        if base is None:
            raise Refused("InvalidPredictorSpec", "No container found in the runtime", "InvalidPredictorSpec")
        over = {field: value for field, value in model.items() if field not in MODEL_FIELDS}
        main = filled_in(merged_container(base, over), isvc) | {"name": CONTAINER}
        extra = [*[each for each in containers if each["name"] != CONTAINER], *extra]
    if not main.get("readinessProbe"):
        port = (main.get("ports") or [{"containerPort": 8080}])[0]["containerPort"]
        main["readinessProbe"] = {"tcpSocket": {"port": port}}
    for port in main.get("ports") or []:
        port.setdefault("protocol", "TCP")  # a key of the list, so apply wants it said
    spec["containers"] = [main, *copy.deepcopy(extra)]
    add_storage(spec, (model or {}).get("storageUri"))
    return spec


def add_storage(spec: Object, uri: str | None) -> None:
    """What the real one's pod webhook does: a PVC is mounted, the rest is downloaded by an init container."""
    if uri is None or uri.startswith("oci://"):
        return
    mount: Object = {"name": "kserve-provision-location", "mountPath": MODEL_DIR}
    volume: Object = {"name": "kserve-provision-location", "emptyDir": {}}
    if uri.startswith("pvc://"):
        claim, _, sub_path = uri.removeprefix("pvc://").partition("/")
        mount = {"name": "kserve-pvc-source", "mountPath": MODEL_DIR}
        if sub_path:
            mount["subPath"] = sub_path
        volume = {"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": claim}}
    else:
        initializer = {
            "name": "storage-initializer",
            "image": STORAGE_INITIALIZER_IMAGE,
            "args": [uri, MODEL_DIR],
            "volumeMounts": [dict(mount)],
            "securityContext": {  # as KServe's default ClusterStorageContainer has it
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "privileged": False,
                "runAsNonRoot": True,
            },
        }
        spec["initContainers"] = [*spec.get("initContainers", []), initializer]
    main = spec["containers"][0]
    main["volumeMounts"] = [*main.get("volumeMounts", []), mount | {"readOnly": True}]
    spec["volumes"] = [*spec.get("volumes", []), volume]


def deployment(isvc: Object, runtime: Object) -> Object:
    meta = object_meta(isvc, predictor_name(isvc), runtime)
    app = meta["labels"]["app"]
    spec: Object = {
        "selector": {"matchLabels": {"app": app}},
        "strategy": isvc["spec"]["predictor"].get("deploymentStrategy")
        or {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "template": {
            "metadata": {"labels": meta["labels"], "annotations": meta["annotations"]},
            "spec": pod_spec(isvc, runtime),
        },
    }
    if autoscaler_class(isvc) == "none":
        spec["replicas"] = min_replicas(isvc)
    return {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "metadata": meta, "spec": spec}


def service(isvc: Object, runtime: Object, made: Object) -> Object:
    meta = object_meta(isvc, predictor_name(isvc), runtime)
    ports = made["spec"]["template"]["spec"]["containers"][0].get("ports") or []
    first = ports[0] if ports else {"name": meta["name"], "containerPort": 8080}
    service_ports = [
        {"name": first.get("name") or "http", "port": 80, "targetPort": first["containerPort"], "protocol": "TCP"}
    ]
    for number, port in enumerate(ports[1:], start=2):
        service_ports.append(
            {
                "name": port.get("name") or f"http{number}",
                "port": port["containerPort"],
                "targetPort": port["containerPort"],
                "protocol": port.get("protocol", "TCP"),
            }
        )
    return {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.kind,
        "metadata": meta,
        "spec": {"type": "ClusterIP", "selector": {"app": meta["labels"]["app"]}, "ports": service_ports},
    }


def hpa(isvc: Object, runtime: Object) -> Object:
    predictor = isvc["spec"]["predictor"]
    lowest = max(1, min_replicas(isvc))
    metric = predictor.get("scaleMetric") or "cpu"
    target = predictor.get("scaleTarget")
    if target is None and metric == "cpu":
        target = DEFAULT_CPU_UTILIZATION
    metrics = []
    if metric in ("cpu", "memory") and target is not None:
        utilization = {"type": "Utilization", "averageUtilization": target}
        metrics.append({"type": "Resource", "resource": {"name": metric, "target": utilization}})
    return {
        "apiVersion": HPA.api_version,
        "kind": HPA.kind,
        "metadata": object_meta(isvc, predictor_name(isvc), runtime),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": predictor_name(isvc)},
            "minReplicas": lowest,
            "maxReplicas": max(lowest, predictor.get("maxReplicas") or 0),
            "metrics": metrics,
        },
    }


def ingress_host(isvc: Object) -> str:
    return f"{isvc['metadata']['name']}-{isvc['metadata']['namespace']}.{INGRESS_DOMAIN}"


def ingress(isvc: Object, runtime: Object) -> Object:
    backend = {"service": {"name": predictor_name(isvc), "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {
        "apiVersion": INGRESS.api_version,
        "kind": INGRESS.kind,
        "metadata": object_meta(isvc, isvc["metadata"]["name"], runtime),
        "spec": {"rules": [{"host": ingress_host(isvc), "http": {"paths": paths}}]},
    }


# --- What the status says (pure) --------------------------------------------------------------------------------------


def condition_of(obj: Object | None, type_: str) -> Object:
    conditions = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == type_), {})


def predictor_condition(made: Object | None) -> Object:
    """From the Deployment's conditions; a later line below wins over an earlier one, as in the real controller."""
    available = condition_of(made, "Available")
    progressing = condition_of(made, "Progressing")
    failure = condition_of(made, "ReplicaFailure")
    verdict: Object = {"status": "False"}
    if available.get("status") == "True":
        verdict = said("True", available)
    if progressing.get("status") == "False" and progressing.get("message"):
        verdict = said("False", progressing)
    elif progressing.get("status") == "True":
        is_complete = progressing.get("reason") == "NewReplicaSetAvailable"
        verdict = said("True" if is_complete else "Unknown", progressing)
    if available.get("status") == "False":
        verdict = said("False", available)
    if failure.get("status") == "True":
        verdict = said("False", failure)
    return verdict


def said(status: str, source: Object) -> Object:
    return {"status": status} | {field: source[field] for field in ("reason", "message") if source.get(field)}


def conditions(isvc: Object, verdicts: dict[str, Object]) -> list[Object]:
    """Sorted by type, each with the time of its last change of status."""
    result = []
    for type_, verdict in sorted(verdicts.items()):
        before = condition_of(isvc, type_)
        changed = before.get("lastTransitionTime") if before.get("status") == verdict["status"] else None
        result.append({"type": type_, **verdict, "lastTransitionTime": changed or now()})
    return result


def happy(*dependents: Object) -> Object:
    for wanted in ("False", "Unknown"):
        for each in dependents:
            if each["status"] == wanted:
                return said(wanted, each)
    return {"status": "True"}


def refused_status(isvc: Object, refusal: Refused) -> Object:
    verdict = {"status": "False", "reason": refusal.reason, "message": refusal.message}
    status: Object = {
        "deploymentMode": "Standard",
        "conditions": conditions(
            isvc,
            {"PredictorReady": verdict, "Ready": verdict, "Stopped": {"status": "False", "severity": "Info"}},
        ),
    }
    if refusal.failure is not None:
        status["modelStatus"] = {
            "transitionStatus": "InvalidSpec",
            "states": {"targetModelState": "FailedToLoad", "activeModelState": ""},
            "lastFailureInfo": {"reason": refusal.failure, "message": refusal.message},
        }
    return status


def stopped_status(isvc: Object) -> Object:
    verdict = {"status": "False", "reason": "Stopped"}
    verdicts = {"PredictorReady": verdict, "IngressReady": verdict, "Ready": verdict}
    verdicts["Stopped"] = {"status": "True", "severity": "Info"}
    return {"deploymentMode": "Standard", "conditions": conditions(isvc, verdicts)}


def served_status(isvc: Object, chosen: dict[str, str], made: Object | None, ready_pods: int, pods: int) -> Object:
    predictor = predictor_condition(made)
    is_ready = predictor["status"] == "True"
    routed = {"status": "True"} if is_ready else {"status": "False", "reason": "Predictor ingress not created"}
    if predictor["status"] == "Unknown":
        routed["status"] = "Unknown"
    before = (isvc.get("status") or {}).get("modelStatus") or {}
    active = (before.get("states") or {}).get("activeModelState", "")
    if pods and ready_pods:
        model = {"transitionStatus": "UpToDate", "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"}}
    else:
        model = {
            "transitionStatus": "InProgress",
            "states": {"activeModelState": active, "targetModelState": "Pending"},
        }
    model["copies"] = {"failedCopies": 0, "totalCopies": ready_pods}
    namespace = isvc["metadata"]["namespace"]
    url = f"http://{ingress_host(isvc)}"
    status: Object = {
        "deploymentMode": "Standard",
        **chosen,
        "conditions": conditions(
            isvc,
            {
                "PredictorReady": predictor,
                "IngressReady": routed,
                "Ready": happy(predictor, routed),
                "Stopped": {"status": "False", "severity": "Info"},
            },
        ),
        "modelStatus": model,
        "components": {"predictor": {"url": url} if is_ready else {}},
    }
    generation = ((made or {}).get("status") or {}).get("observedGeneration")
    if generation is not None:
        status["observedGeneration"] = generation  # the Deployment's: the real controller copies that one
    if is_ready:
        status["url"] = url
        status["address"] = {"url": f"http://{predictor_name(isvc)}.{namespace}.svc.cluster.local"}
    return status


def pod_status(pod: Object, is_held: bool) -> Object:
    """What a kubelet would have said of this pod."""
    containers = pod["spec"]["containers"]
    is_bad = {each["name"]: BAD_IMAGE in each.get("image", "") for each in containers}
    is_running = not is_held and not any(is_bad.values())
    started = (pod.get("status") or {}).get("startTime") or now()
    unready: Object = {}
    if not is_running:
        names = " ".join(is_bad)
        unready = {"reason": "ContainersNotReady", "message": f"containers with unready status: [{names}]"}
    ready = {"status": "True" if is_running else "False", "lastTransitionTime": now(), **unready}
    statuses = []
    for each in containers:
        state: Object = {"running": {"startedAt": started}}
        if is_bad[each["name"]]:
            message = f'Back-off pulling image "{each["image"]}"'
            state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
        elif not is_running:
            state = {"waiting": {"reason": "ContainerCreating"}}
        statuses.append(
            {
                "name": each["name"],
                "image": each.get("image", ""),
                "imageID": "",
                "ready": is_running,
                "started": is_running,
                "restartCount": 0,
                "state": state,
            }
        )
    return {
        "phase": "Running" if is_running else "Pending",
        "startTime": started,
        "conditions": [
            {"type": "Initialized", "status": "True", "lastTransitionTime": started},
            {"type": "Ready", **ready},
            {"type": "ContainersReady", **ready},
        ],
        "containerStatuses": statuses,  # and no podIP: the endpoint controller then asks for the pod's node, for ever
    }


def is_ready(pod: Object) -> bool:
    return condition_of(pod, "Ready").get("status") == "True"


def projection(shape: Any, value: Any) -> Any:
    """The part of `value` that `shape` speaks of; lists of another length count as a whole."""
    if isinstance(shape, dict) and isinstance(value, dict):
        return {field: projection(part, value.get(field)) for field, part in shape.items()}
    if isinstance(shape, list) and isinstance(value, list) and len(shape) == len(value):
        return [projection(part, each) for part, each in zip(shape, value, strict=True)]
    return value


# --- The loop ---------------------------------------------------------------------------------------------------------


class Controller:
    def __init__(self, api: Api, namespace: str | None) -> None:
        self._api = api
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._busy: set[Key] = set()
        self._applied: dict[tuple[str, str, str], tuple[str, Any]] = {}
        changed = {ISVC: self._isvc_changed, RUNTIME: self._runtime_changed, CLUSTER_RUNTIME: self._runtime_changed}
        self.stores = {
            resource: Store(
                api, resource, namespace if resource.namespaced else None, changed.get(resource, self._child_changed)
            )
            for resource in (ISVC, RUNTIME, CLUSTER_RUNTIME, DEPLOYMENT, SERVICE, HPA, INGRESS, POD)
        }
        self._pods: dict[Key, dict[Key, None]] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for store in self.stores.values():
                group.create_task(store.run())
            for store in self.stores.values():
                await store.synced.wait()
            log.info("caches are full; %d InferenceServices", len(self.stores[ISVC].objects))
            for _ in range(WORKERS):
                group.create_task(self._work())

    def _mark(self, key: Key) -> None:
        if key not in self._waiting:
            self._waiting.add(key)
            self._queue.put_nowait(key)

    def _isvc_changed(self, obj: Object) -> None:
        self._mark(key_of(obj))

    def _runtime_changed(self, obj: Object) -> None:
        namespace = obj["metadata"].get("namespace")
        for key in self.stores[ISVC].objects:
            if namespace in (None, key[0]):
                self._mark(key)

    def _child_changed(self, obj: Object) -> None:
        owner = (obj["metadata"].get("labels") or {}).get(OWNER_LABEL)
        if owner is None:
            return
        key = (obj["metadata"]["namespace"], owner)
        if obj.get("kind") == "Pod" or "containers" in obj.get("spec", {}):  # items of a list carry no kind
            self._pods.setdefault(key, {})[key_of(obj)] = None
        self._mark(key)

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._waiting.discard(key)
            if key in self._busy:  # another worker has it: look again when that one is done
                await asyncio.sleep(0.01)
                self._mark(key)
                continue
            self._busy.add(key)
            try:
                await self._reconcile(key)
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                if "being terminated" in str(error):  # the namespace goes, and everything of ours with it
                    continue
                if not (isinstance(error, ApiError) and error.status in (404, 409)):
                    log.warning("%s/%s: %s; will retry", *key, error)
                asyncio.get_running_loop().call_later(RETRY_S, self._mark, key)
            except Exception:  # the one catch-all: a bug must show in the log and not stop the others
                log.exception("%s/%s: cannot be reconciled", *key)
            finally:
                self._busy.discard(key)

    async def _reconcile(self, key: Key) -> None:
        isvc = self.stores[ISVC].get(*key)
        if isvc is None:
            self._pods.pop(key, None)
            return
        if isvc["metadata"].get("deletionTimestamp"):
            return
        if is_stopped(isvc):
            for kind in CHILDREN.values():
                await self._delete(kind, isvc)
            await self._write_status(isvc, stopped_status(isvc))
            return
        try:
            runtime, chosen = self._runtime(isvc)
            wanted = [deployment(isvc, runtime)]
        except Refused as refusal:
            await self._play_kubelet(key, isvc)
            await self._write_status(isvc, refused_status(isvc, refusal))
            return
        wanted.append(service(isvc, runtime, wanted[0]))
        if autoscaler_class(isvc) == "hpa":
            wanted.append(hpa(isvc, runtime))
        else:
            await self._delete(HPA, isvc)
        for child in wanted:
            await self._ensure(child)
        await self._play_kubelet(key, isvc)
        made = self.stores[DEPLOYMENT].get(key[0], predictor_name(isvc))
        if predictor_condition(made)["status"] == "True":
            await self._ensure(ingress(isvc, runtime))
        pods = self._pods_of(key)
        ready = sum(is_ready(pod) for pod in pods)
        await self._write_status(isvc, served_status(isvc, chosen, made, ready, len(pods)))

    def _runtime(self, isvc: Object) -> tuple[Object, dict[str, str]]:
        """The spec of the runtime and the status fields that name it; raises Refused."""
        predictor = isvc["spec"]["predictor"]
        model = predictor.get("model")
        highest = predictor.get("maxReplicas") or 0
        if highest and min_replicas(isvc) > highest:
            message = f"minReplicas ({min_replicas(isvc)}) must not exceed maxReplicas ({highest})"
            raise Refused("InvalidReplicas", message, None)
        if annotations_of(isvc).get(DEPLOYMENT_MODE) in ("Knative", "Serverless", "ModelMesh"):
            raise Refused("UnsupportedDeploymentMode", "this stand-in knows Standard mode only", None)
        uri = (model or {}).get("storageUri")
        if uri is not None and not STORAGE_SCHEMES.match(uri):
            raise Refused("InvalidStorageUri", f"StorageURI not supported: {uri}", "ModelLoadFailed")
        if model is None:
            if not predictor.get("containers"):
                raise Refused("InvalidPredictorSpec", "expected model or containers", "InvalidPredictorSpec")
            return {}, {}
        name = model.get("runtime")
        if name is None:
            return self._selected(isvc)
        namespaced = self.stores[RUNTIME].get(isvc["metadata"]["namespace"], name)
        found = namespaced or self.stores[CLUSTER_RUNTIME].get("", name)
        if found is None:
            raise Refused("RuntimeNotRecognized", "Waiting for runtime to become available", "RuntimeNotRecognized")
        if found["spec"].get("disabled"):
            raise Refused("RuntimeDisabled", "Specified runtime is disabled", "RuntimeDisabled")
        if not supports(found, model, auto=False):
            message = "Specified runtime does not support specified framework/version"
            raise Refused("NoSupportingRuntime", message, "NoSupportingRuntime")
        return found["spec"], {"servingRuntimeName" if namespaced else "clusterServingRuntimeName": name}

    def _selected(self, isvc: Object) -> tuple[Object, dict[str, str]]:
        model = isvc["spec"]["predictor"]["model"]
        for field, resource in (("servingRuntimeName", RUNTIME), ("clusterServingRuntimeName", CLUSTER_RUNTIME)):
            for (namespace, name), found in sorted(self.stores[resource].objects.items()):
                in_reach = namespace in ("", isvc["metadata"]["namespace"])
                if in_reach and not found["spec"].get("disabled") and supports(found, model, auto=True):
                    return found["spec"], {field: name}
        message = "No runtime found to support specified framework/version"
        raise Refused("NoSupportingRuntime", message, "NoSupportingRuntime")

    async def _ensure(self, child: Object) -> None:
        """Apply a child unless the live one still is what our last apply of the same child made of it."""
        resource = CHILDREN[child["kind"]]
        namespace, name = key_of(child)
        store = self.stores[resource]
        live = store.get(namespace, name)
        wanted = json.dumps(child, sort_keys=True)
        shape = {"metadata": child["metadata"], "spec": child["spec"]}
        known = self._applied.get((resource.kind, namespace, name))
        if live is not None and known == (wanted, projection(shape, live)):
            return
        made = await self._api.apply(resource, child)
        store.put(made)
        self._applied[resource.kind, namespace, name] = (wanted, projection(shape, made))
        log.info("applied %s %s/%s", resource.kind, namespace, name)

    async def _delete(self, resource: Resource, isvc: Object) -> None:
        """Delete the child of this kind if it is there and ours."""
        namespace, name = key_of(isvc)
        child_name = name if resource is INGRESS else predictor_name(isvc)
        live = self.stores[resource].get(namespace, child_name)
        if live is None or live["metadata"].get("deletionTimestamp"):
            return
        owners = live["metadata"].get("ownerReferences") or []
        if any(owner["uid"] == isvc["metadata"]["uid"] for owner in owners):
            await self._api.call("DELETE", resource.path(namespace, child_name), propagationPolicy="Background")
            log.info("deleted %s %s/%s", resource.kind, namespace, child_name)

    def _pods_of(self, key: Key) -> list[Object]:
        """The pods we know of an InferenceService; forgets those that are gone."""
        names = self._pods.get(key, {})
        for each in [each for each in names if each not in self.stores[POD].objects]:
            del names[each]
        return [self.stores[POD].objects[each] for each in names]

    async def _play_kubelet(self, key: Key, isvc: Object) -> None:
        is_held = annotations_of(isvc).get(HOLD) == "true"
        await asyncio.gather(*(self._say_pod_status(pod, is_held) for pod in self._pods_of(key)))

    async def _say_pod_status(self, pod: Object, is_held: bool) -> None:
        if pod["metadata"].get("deletionTimestamp") or pod["spec"].get("nodeName"):
            return
        status = pod_status(pod, is_held)
        now_said = pod.get("status") or {}
        is_same = now_said.get("phase") == status["phase"] and bool(now_said.get("containerStatuses"))
        if is_same and is_ready(pod) == (status["phase"] == "Running"):
            return
        path = POD.path(*key_of(pod)) + "/status"
        try:
            answer = await self._api.call(
                "PATCH", path, {"status": status}, "application/merge-patch+json", fieldManager=FIELD_MANAGER
            )
        except ApiError as error:
            if error.status == 404:
                return
            raise
        self.stores[POD].put(answer)

    async def _write_status(self, isvc: Object, status: Object) -> None:
        current = isvc.get("status") or {}
        if status == current:
            return
        cleared = {field: None for field in current if field not in status}
        patch = {"status": cleared | pruned(status, current)}
        path = ISVC.path(*key_of(isvc)) + "/status"
        answer = await self._api.call("PATCH", path, patch, "application/merge-patch+json", fieldManager=FIELD_MANAGER)
        self.stores[ISVC].put(answer)


def pruned(wanted: Object, current: Object) -> Object:
    """A merge patch keeps fields that it does not name: name those that must go, one level down."""
    return {
        field: {key: None for key in current[field] if key not in value} | value
        if isinstance(value, dict) and isinstance(current.get(field), dict)
        else value
        for field, value in wanted.items()
    }


def supports(runtime: Object, model: Object, *, auto: bool) -> bool:
    """Whether a runtime takes the model's format (and version, if one is asked for)."""
    wanted = model["modelFormat"]
    for offered in runtime["spec"].get("supportedModelFormats") or []:
        if offered["name"].lower() != wanted["name"].lower() or (auto and not offered.get("autoSelect")):
            continue
        if wanted.get("version") in (None, offered.get("version")):
            return True
    return False


async def main_async(arguments: argparse.Namespace) -> None:
    async with Api(arguments.kubeconfig) as api:
        controller = Controller(api, arguments.namespace)
        running: Awaitable[None] = asyncio.ensure_future(controller.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            log.info("told to stop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="credentials of the stand-in's ServiceAccount")
    parser.add_argument("--namespace", help="look at this namespace only (default: all)")
    parser.add_argument("--verbose", action="store_true", help="log every write")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    asyncio.run(main_async(arguments))


if __name__ == "__main__":
    main()
