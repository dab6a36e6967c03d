"""What KServe makes of an InferenceService, line by line. Run against our stand-in, or the real one where there is one.

The lines marked `standin_only` state what only the stand-in does (see its docstring); they are not run on the real one.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.plane import Cluster, ControlPlane

Object = dict[str, Any]
READY_TIMEOUT_S = 30.0
HPA_TIMEOUT_S = 30.0  # the autoscaler looks every 5 s on our plane, every 15 s on most clusters
MANY = 200
MANY_TIMEOUT_S = 180.0
CHILDREN = ("Deployment", "Service", "HorizontalPodAutoscaler")
STANDIN_USER = "system:serviceaccount:kserve-standin:kserve-standin"


def serving_runtime(namespace: str, **spec: object) -> Object:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "torch", "namespace": namespace},
        "spec": {
            "supportedModelFormats": [{"name": "moorage", "version": "1", "autoSelect": True}],
            "protocolVersions": ["v2"],
            "containers": [
                {
                    "name": "kserve-container",
                    "image": "example.com/moorage/predictor:1",
                    "args": ["--model-name={{.Name}}"],
                    "env": [{"name": "FROM", "value": "runtime"}],
                    "resources": {"requests": {"cpu": "1000m", "memory": "1Gi"}},
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                }
            ],
            **spec,
        },
    }


def inference_service(
    namespace: str, annotations: Object | None = None, model: Object | None = None, **more: object
) -> Object:
    fields = {"modelFormat": {"name": "moorage"}, "runtime": "torch", "storageUri": "s3://bucket/cats", **(model or {})}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "cats",
            "namespace": namespace,
            "labels": {"team": "sea"},
            "annotations": {"serving.kserve.io/deploymentMode": "Standard", **(annotations or {})},
        },
        "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 3, "model": fields, **more}},
    }


class Seen:
    """What is on the cluster now for one InferenceService."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    @property
    def isvc(self) -> Object:
        return self.api.get("InferenceService", self.namespace, "cats") or {}

    @property
    def status(self) -> Object:
        return self.isvc.get("status", {})

    def condition(self, type_: str) -> Object:
        return condition(self.isvc, type_)

    def child(self, kind: str) -> Object | None:
        return self.api.get(kind, self.namespace, "cats" if kind == "Ingress" else "cats-predictor")

    @property
    def deployment(self) -> Object:
        return self.child("Deployment") or {"spec": {"template": {"spec": {"containers": [{}]}}}}

    @property
    def pod_spec(self) -> Object:
        return self.deployment["spec"]["template"]["spec"]

    @property
    def container(self) -> Object:
        return self.pod_spec["containers"][0]

    @property
    def hpa(self) -> Object:
        return (self.child("HorizontalPodAutoscaler") or {}).get("spec", {})

    @property
    def pods(self) -> list[Object]:
        return self.api.list("Pod", self.namespace, "serving.kserve.io/inferenceservice=cats")

    def is_ready(self) -> bool:
        return self.condition("Ready").get("status") == "True"

    def is_refused(self, reason: str) -> bool:
        """The predictor and the whole are not ready, for this reason."""
        both = [self.condition(type_) for type_ in ("PredictorReady", "Ready")]
        return all(each.get("status") == "False" and each.get("reason") == reason for each in both)


@dataclass(frozen=True)
class Line:
    """One line of the table: what is applied, and what must become true of what is seen."""

    says: str
    expect: Callable[[Seen], object]
    isvc: Object | None = None
    runtime: Object | None = None
    without_runtime: bool = False
    standin_only: bool = False


def has_labels(seen: Seen) -> bool:
    labels = seen.deployment["metadata"]["labels"]
    return (
        labels.items()
        >= {
            "app": "isvc.cats-predictor",
            "component": "predictor",
            "serving.kserve.io/inferenceservice": "cats",
            "team": "sea",
            "tier": "gold",
        }.items()
        and seen.deployment["spec"]["template"]["metadata"]["labels"] == labels
    )


def is_owned(seen: Seen) -> bool:
    uid = seen.isvc["metadata"]["uid"]
    return all(seen.child(kind)["metadata"]["ownerReferences"][0]["uid"] == uid for kind in CHILDREN)


def service_ports(seen: Seen) -> list[tuple[int, int]]:
    return [(port["port"], port["targetPort"]) for port in seen.child("Service")["spec"]["ports"]]


def utilization(seen: Seen) -> tuple[str, int]:
    resource = seen.hpa["metrics"][0]["resource"]
    return resource["name"], resource["target"]["averageUtilization"]


def model_status(seen: Seen) -> tuple[str, str]:
    status = seen.status["modelStatus"]
    return status["transitionStatus"], status["states"]["targetModelState"]


def failure(seen: Seen) -> str:
    return seen.status["modelStatus"]["lastFailureInfo"]["reason"]


def waiting_reasons(seen: Seen) -> set[str]:
    return {each["state"]["waiting"]["reason"] for pod in seen.pods for each in pod["status"]["containerStatuses"]}


BAD_IMAGE = {"model": {"image": "example.com/bad-image:1"}}
EXTERNAL = {"annotations": {"serving.kserve.io/autoscalerClass": "external"}}
NONE = {"annotations": {"serving.kserve.io/autoscalerClass": "none"}, "minReplicas": 2}
STOPPED = {"annotations": {"serving.kserve.io/stop": "true"}}
HELD = {"annotations": {"standin.moorage.dev/hold": "true"}}
GPU = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}

TABLE = (
    Line("becomes ready", Seen.is_ready),
    Line("is ready for the reason of its Deployment",
         lambda s: s.condition("PredictorReady").get("reason") == "NewReplicaSetAvailable"),
    Line("has its Ingress ready", lambda s: s.condition("IngressReady")["status"] == "True"),
    Line("is not stopped", lambda s: s.condition("Stopped")["status"] == "False"),
    Line("says the mode", lambda s: s.status["deploymentMode"] == "Standard"),
    Line("says its url", lambda s: s.status["url"].startswith("http://")),
    Line("says its address in the cluster",
         lambda s: f"cats-predictor.{s.namespace}.svc" in s.status["address"]["url"]),
    Line("says that the model is loaded", lambda s: model_status(s) == ("UpToDate", "Loaded")),
    Line("counts its copies", lambda s: s.status["modelStatus"]["copies"]["totalCopies"] == 1),
    Line("names its runtime", lambda s: s.status["servingRuntimeName"] == "torch"),
    Line("gives the Deployment's generation for its own",
         lambda s: s.status["observedGeneration"] == s.deployment["status"]["observedGeneration"]),
    Line("owns its children", is_owned),
    Line("hands its labels to the pods", has_labels, {"labels": {"tier": "gold"}}),
    Line("serves port 80 from 8080", lambda s: service_ports(s) == [(80, 8080)]),
    Line("routes by an Ingress of its own name", lambda s: s.child("Ingress") is not None),
    Line("runs the runtime's image", lambda s: s.container["image"] == "example.com/moorage/predictor:1"),
    Line("calls its container kserve-container", lambda s: s.container["name"] == "kserve-container"),
    Line("fills in the runtime's placeholders", lambda s: s.container["args"] == ["--model-name=cats"]),
    Line("appends the model's arguments to the runtime's",
         lambda s: s.container["args"] == ["--model-name=cats", "--more"], {"model": {"args": ["--more"]}}),
    Line("prefers the model's environment to the runtime's",
         lambda s: {"name": "FROM", "value": "model"} in s.container["env"] and len(s.container["env"]) == 1,
         {"model": {"env": [{"name": "FROM", "value": "model"}]}}),
    Line("joins the model's resources with the runtime's",
         lambda s: s.container["resources"]["limits"] == {"nvidia.com/gpu": "1"} and
         s.container["resources"]["requests"]["memory"] == "1Gi", {"model": GPU}),
    Line("takes pod fields of the predictor", lambda s: s.pod_spec["nodeSelector"] == {"pool": "gpu"},
         {"nodeSelector": {"pool": "gpu"}}),
    Line("downloads the model into the pod",
         lambda s: s.pod_spec["initContainers"][0]["name"] == "storage-initializer", standin_only=True),
    Line("mounts a claim instead of downloading",
         lambda s: s.pod_spec["volumes"][0]["persistentVolumeClaim"]["claimName"] == "models",
         {"model": {"storageUri": "pvc://models/cats"}}, standin_only=True),
    Line("scales between its bounds", lambda s: (s.hpa["minReplicas"], s.hpa["maxReplicas"]) == (1, 3)),
    Line("scales on the CPU by default", lambda s: utilization(s) == ("cpu", 80)),
    Line("scales on memory if told to", lambda s: utilization(s) == ("memory", 70),
         {"scaleMetric": "memory", "scaleTarget": 70}),
    Line("has an autoscaler that begins at 1 for minReplicas 0", lambda s: s.hpa["minReplicas"] == 1,
         {"minReplicas": 0}),
    Line("comes up to minReplicas", lambda s: s.deployment["spec"]["replicas"] == 2 and s.is_ready(),
         {"minReplicas": 2}),
    Line("has no HPA if the autoscaler is external",
         lambda s: s.is_ready() and s.child("HorizontalPodAutoscaler") is None, EXTERNAL),
    Line("begins with one replica if the autoscaler is external, whatever minReplicas says",
         lambda s: s.is_ready() and s.deployment["spec"]["replicas"] == 1, {**EXTERNAL, "minReplicas": 2}),
    Line("has no HPA and minReplicas if there is to be no autoscaler",
         lambda s: s.is_ready() and s.child("HorizontalPodAutoscaler") is None and
         s.deployment["spec"]["replicas"] == 2, NONE),
    Line("finds a runtime by the model's format", lambda s: s.status["servingRuntimeName"] == "torch" and s.is_ready(),
         {"model": {"runtime": None}}),
    Line("ignores canaryTrafficPercent", Seen.is_ready, {"canaryTrafficPercent": 20}),
    Line("has no children while it is stopped",
         lambda s: s.condition("Stopped")["status"] == "True" and s.child("Deployment") is None and
         s.condition("Ready")["status"] == "False", STOPPED),
    Line("is not ready with a bad image", lambda s: s.is_refused("MinimumReplicasUnavailable"), BAD_IMAGE),
    Line("keeps loading with a bad image", lambda s: model_status(s) == ("InProgress", "Pending"), BAD_IMAGE),
    Line("shows a bad image in the pods only",
         lambda s: waiting_reasons(s) <= {"ImagePullBackOff", "ErrImagePull"} and waiting_reasons(s), BAD_IMAGE),
    Line("is not ready while its pods are held back", lambda s: s.is_refused("MinimumReplicasUnavailable"), HELD,
         standin_only=True),
    Line("calls a missing runtime an invalid spec",
         lambda s: model_status(s) == ("InvalidSpec", "FailedToLoad") and failure(s) == "RuntimeNotRecognized",
         without_runtime=True),
    Line("is not ready without its runtime", lambda s: s.is_refused("RuntimeNotRecognized"), without_runtime=True,
         standin_only=True),
    Line("calls a disabled runtime disabled", lambda s: failure(s) == "RuntimeDisabled", runtime={"disabled": True}),
    Line("calls a format that no runtime knows unsupported", lambda s: failure(s) == "NoSupportingRuntime",
         {"model": {"modelFormat": {"name": "onnx"}}}),
    Line("refuses an unknown storage scheme", lambda s: s.is_refused("InvalidStorageUri") and not s.child("Deployment"),
         {"model": {"storageUri": "ftp://host/cats"}}, standin_only=True),
    Line("refuses bounds that cross", lambda s: s.is_refused("InvalidReplicas") and not s.child("Deployment"),
         {"minReplicas": 4}, standin_only=True),
)  # fmt: skip


@pytest.fixture
def seen(api: Api, namespace: str) -> Seen:
    return Seen(api, namespace)


@pytest.fixture
def ready(kserve: str, api: Api, seen: Seen) -> Iterator[Seen]:
    """A ready InferenceService `cats`."""
    api.apply(serving_runtime(seen.namespace))
    api.apply(inference_service(seen.namespace))
    eventually(seen.is_ready, timeout_s=READY_TIMEOUT_S)
    yield seen
    api.delete("InferenceService", seen.namespace, "cats")


@pytest.mark.parametrize("line", TABLE, ids=lambda line: line.says.replace(" ", "_"))
def test_an_inference_service(line: Line, kserve: str, api: Api, seen: Seen) -> None:
    if line.standin_only and kserve == "real":
        pytest.skip("states what only the stand-in for KServe does")
    if not line.without_runtime:
        api.apply(serving_runtime(seen.namespace, **(line.runtime or {})))
    changes = dict(line.isvc or {})
    isvc = inference_service(seen.namespace, **changes)
    isvc["spec"]["predictor"]["model"] = {
        field: value for field, value in isvc["spec"]["predictor"]["model"].items() if value is not None
    }
    api.apply(isvc)
    eventually(lambda: line.expect(seen), timeout_s=READY_TIMEOUT_S)


def test_an_edit_of_min_replicas_is_followed(ready: Seen, api: Api) -> None:
    started = time.perf_counter()
    api.apply(inference_service(ready.namespace, minReplicas=2))
    eventually(lambda: ready.deployment["spec"]["replicas"] == 2, timeout_s=HPA_TIMEOUT_S)
    eventually(lambda: ready.status["modelStatus"]["copies"]["totalCopies"] == 2 and ready.is_ready())
    print(f"\nminReplicas 1 -> 2 followed in {time.perf_counter() - started:.2f} s")


def test_an_edit_of_the_image_rolls_the_pods_over(ready: Seen, api: Api) -> None:
    image = "example.com/moorage/predictor:2"
    api.apply(inference_service(ready.namespace, model={"image": image}))
    eventually(lambda: [pod["spec"]["containers"][0]["image"] for pod in ready.pods] == [image])
    eventually(ready.is_ready)


def test_a_refused_edit_leaves_the_running_children_alone(ready: Seen, api: Api) -> None:
    generation = ready.deployment["metadata"]["generation"]
    api.apply(inference_service(ready.namespace, model={"runtime": "nowhere"}))
    eventually(lambda: failure(ready) == "RuntimeNotRecognized")
    assert ready.deployment["metadata"]["generation"] == generation


def test_a_runtime_that_comes_late_is_found(kserve: str, api: Api, seen: Seen) -> None:
    api.apply(inference_service(seen.namespace))
    eventually(lambda: failure(seen) == "RuntimeNotRecognized")
    api.apply(serving_runtime(seen.namespace))
    eventually(seen.is_ready, timeout_s=READY_TIMEOUT_S)
    assert "lastFailureInfo" not in seen.status["modelStatus"] or kserve == "real"


def test_replicas_that_somebody_else_set_are_left_alone(ready: Seen, api: Api) -> None:
    api.delete("HorizontalPodAutoscaler", ready.namespace, "cats-predictor")
    api.apply(inference_service(ready.namespace, **EXTERNAL))
    eventually(lambda: ready.child("HorizontalPodAutoscaler") is None)
    api.patch("Deployment", ready.namespace, "cats-predictor", {"spec": {"replicas": 3}}, subresource="scale")
    eventually(lambda: ready.status["modelStatus"]["copies"]["totalCopies"] == 3)
    api.apply(inference_service(ready.namespace, model={"image": "example.com/moorage/predictor:2"}, **EXTERNAL))
    eventually(lambda: ready.container["image"].endswith(":2"))
    assert ready.deployment["spec"]["replicas"] == 3


def test_a_child_that_somebody_deleted_comes_back(ready: Seen, api: Api) -> None:
    before = ready.child("Service")["metadata"]["uid"]
    api.delete("Service", ready.namespace, "cats-predictor")
    eventually(lambda: ready.child("Service")["metadata"]["uid"] != before)


def test_deletion_removes_every_child_by_garbage_collection(ready: Seen, api: Api) -> None:
    assert all(ready.child(kind) for kind in (*CHILDREN, "Ingress"))
    started = time.perf_counter()
    api.delete("InferenceService", ready.namespace, "cats")
    eventually(lambda: not any(ready.child(kind) for kind in (*CHILDREN, "Ingress")) and not ready.pods)
    print(f"\nall children gone {time.perf_counter() - started:.2f} s after the InferenceService was deleted")


def test_the_stand_in_takes_over_the_work_of_one_that_a_restart_cut_off(
    control_plane: Cluster, kserve: str, api: Api, seen: Seen
) -> None:
    """Every watch breaks when the API server restarts; the stand-in must list again and go on."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("the cluster was lent by MOORAGE_TEST_KUBECONFIG; its API server is not ours to restart")
    control_plane.restart_api_server()
    api.apply(serving_runtime(seen.namespace))
    api.apply(inference_service(seen.namespace))
    eventually(seen.is_ready, timeout_s=READY_TIMEOUT_S)


def test_the_stand_in_writes_nothing_when_nothing_changed(control_plane: Cluster, kserve: str, ready: Seen) -> None:
    if kserve == "real" or control_plane.audit is None:
        pytest.skip("states what only the stand-in for KServe does")
    audit = control_plane.audit
    eventually(lambda: _is_quiet(audit, ready.namespace), timeout_s=READY_TIMEOUT_S)
    mark = audit.mark()
    ready.api.patch("Service", ready.namespace, "cats-predictor", {"metadata": {"annotations": {"a": "b"}}})
    time.sleep(2)
    assert audit.writes(mark, STANDIN_USER, ready.namespace) == []


def _is_quiet(audit: Any, namespace: str) -> bool:
    mark = audit.mark()
    time.sleep(1)
    return not audit.writes(mark, STANDIN_USER, namespace)


def test_nothing_imports_the_stand_in() -> None:
    repository = Path(__file__).resolve().parents[2]
    rooms = ("operator", "predictors", "gateway", "tests", "tools")
    importers = [
        path
        for room in rooms
        for path in (repository / room).rglob("*.py")
        if path.name != Path(__file__).name and "import kserve_standin" in path.read_text()
    ]
    assert importers == []


@pytest.mark.timeout(MANY_TIMEOUT_S + 60)
def test_two_hundred_inference_services_become_ready_together(kserve: str, api: Api, namespace: str) -> None:
    if kserve == "real":
        pytest.skip("a lent cluster need not have room for two hundred predictors")
    api.apply(serving_runtime(namespace))
    started = time.perf_counter()
    for number in range(MANY):
        isvc = inference_service(namespace)
        isvc["metadata"]["name"] = f"cats-{number}"
        api.create(isvc)
    created = time.perf_counter() - started

    def all_ready() -> bool:
        services = api.list("InferenceService", namespace)
        return sum(condition(each, "Ready").get("status") == "True" for each in services) == MANY

    eventually(all_ready, timeout_s=MANY_TIMEOUT_S, interval_s=1.0)
    print(f"\n{MANY} InferenceServices: created in {created:.1f} s, ready {time.perf_counter() - started:.1f} s after")
