"""One ModelDeployment's life on a real API server: made, edited, healed, refused, deleted, and left in peace."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.contract.controller_process import USER, ControllerProcess
from tests.contract.deployments import apply, ready
from tests.contract.spec_table import document
from tests.control_plane.client import Api, ApiError, condition, eventually
from tests.control_plane.plane import Cluster, ControlPlane

from moorage.render import OWNER_LABEL

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve", "controller")]

Object = dict[str, Any]
OURS = ("ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "ServingRuntime", "InferenceService")
THEIRS = ("Deployment", "Service", "HorizontalPodAutoscaler", "ReplicaSet", "Pod")
MANY = 200


def reason(api: Api, namespace: str, kind: str, name: str = "cats") -> tuple[str, str]:
    found = condition(api.get("ModelDeployment", namespace, name), kind)
    return found.get("status", ""), found.get("reason", "")


def types_of(api: Api, namespace: str) -> list[str]:
    return [each["type"] for each in api.get("ModelDeployment", namespace, "cats")["status"]["conditions"]]


def waited(check: Callable[[], Any], timeout_s: float = 30.0) -> float:
    started = time.perf_counter()
    eventually(check, timeout_s)
    return time.perf_counter() - started


def left_with_our_label(api: Api, namespace: str) -> list[str]:
    return [
        f"{kind} {each['metadata']['name']}"
        for kind in (*OURS, *THEIRS)
        for each in api.list(kind, namespace, labels=OWNER_LABEL)
    ]


def test_one_resource_becomes_a_service_follows_an_edit_and_leaves_nothing_behind(
    api: Api, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 3})
    made_s = waited(lambda: all(api.get(kind, namespace, "cats-predictor") for kind in THEIRS[:3]))
    ready_s = waited(lambda: ready(api, namespace))
    mdep = api.get("ModelDeployment", namespace, "cats")
    assert mdep["status"]["url"].startswith("http")
    assert mdep["status"]["version"] == "1"
    assert types_of(api, namespace)[:4] == ["Accepted", "PredictorReady", "RoutesReady", "Ready"]
    # Which a bare control plane does not serve; of kinds that came just now its discovery may tell late.
    eventually(lambda: set(types_of(api, namespace)[4:]) <= {"ResourceMetricsUnavailable"})
    assert "finalizers" not in mdep["metadata"]

    apply(api, namespace, scaling={"minReplicas": 2, "maxReplicas": 3})
    followed_s = waited(lambda: api.get("Deployment", namespace, "cats-predictor")["spec"]["replicas"] == 2)
    assert api.get("HorizontalPodAutoscaler", namespace, "cats-predictor")["spec"]["minReplicas"] == 2
    eventually(lambda: api.get("PodDisruptionBudget", namespace, "cats-predictor"))

    api.delete("ModelDeployment", namespace, "cats")
    gone_s = waited(lambda: left_with_our_label(api, namespace) == [], timeout_s=60)
    with capsys.disabled():
        print(
            f"\n  children {made_s:.1f} s, Ready +{ready_s:.1f} s, edit {followed_s:.1f} s, deleted {gone_s:.1f} s",
            end=" ",
        )


def test_the_rendered_pod_passes_the_restricted_pod_security_profile(api: Api, namespace: str) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    api.patch("Namespace", None, namespace, label)
    apply(api, namespace)
    eventually(lambda: api.list("Pod", namespace, labels=f"{OWNER_LABEL}=cats"))


def test_a_second_look_at_an_unchanged_cluster_writes_nothing(
    api: Api, namespace: str, control_plane: Cluster, controller: ControllerProcess
) -> None:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("a lent cluster has no audit log that we can read")
    for index in range(5):
        apply(api, namespace, f"cats-{index}", scaling={"minReplicas": 2})
    eventually(lambda: all(ready(api, namespace, f"cats-{i}") for i in range(5)))
    eventually(lambda: all(copies(api, namespace, f"cats-{i}") == 2 for i in range(5)))
    quiet(control_plane, namespace)
    mark = control_plane.audit.mark()
    controller.stop()
    controller.start()
    eventually(lambda: 'moorage_model_deployments{ready="True"} ' in controller.get("/metrics"))
    eventually(lambda: reconciled(controller) >= 5)
    time.sleep(3)
    assert control_plane.audit.writes(since=mark, user=USER, namespace=namespace) == []


def copies(api: Api, namespace: str, name: str) -> int:
    return api.get("ModelDeployment", namespace, name)["status"]["replicas"]


def quiet(control_plane: ControlPlane, namespace: str) -> None:
    """Wait until the controller has written nothing for a while."""

    def silent() -> bool:
        mark = control_plane.audit.mark()
        time.sleep(2)
        return control_plane.audit.writes(since=mark, user=USER, namespace=namespace) == []

    eventually(silent, timeout_s=60)


def reconciled(controller: ControllerProcess) -> float:
    lines = controller.get("/metrics").splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("moorage_reconciles_total"))


@pytest.mark.parametrize("kind", [kind for kind in OURS if kind != "PodDisruptionBudget"])
def test_a_deleted_child_comes_back(api: Api, namespace: str, kind: str) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    name = "cats" if kind == "InferenceService" else "cats-predictor"
    before = api.get(kind, namespace, name)["metadata"]["uid"]
    api.delete(kind, namespace, name)
    eventually(lambda: api.get(kind, namespace, name)["metadata"]["uid"] != before)


def test_an_edited_child_gets_our_fields_back_and_keeps_foreign_ones(api: Api, namespace: str) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    patch = {"metadata": {"labels": {"team": "sea"}}, "spec": {"predictor": {"minReplicas": 7, "maxReplicas": 9}}}
    api.patch("InferenceService", namespace, "cats", patch)
    eventually(lambda: api.get("InferenceService", namespace, "cats")["spec"]["predictor"]["minReplicas"] == 1)
    service = api.get("InferenceService", namespace, "cats")
    assert service["metadata"]["labels"]["team"] == "sea"
    assert service["spec"]["predictor"]["maxReplicas"] == 3


def test_a_child_that_lost_our_label_is_found_again(api: Api, namespace: str) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    api.patch("ServiceAccount", namespace, "cats-predictor", {"metadata": {"labels": {OWNER_LABEL: None}}})
    eventually(lambda: OWNER_LABEL in api.get("ServiceAccount", namespace, "cats-predictor")["metadata"]["labels"])


def test_what_is_no_longer_rendered_is_removed(api: Api, namespace: str) -> None:
    model = {"task": "image-classification", "storageUri": "s3://bucket/cats/"}
    apply(api, namespace, model={**model, "storageSecret": "store"}, scaling={"minReplicas": 2})
    eventually(lambda: api.get("PodDisruptionBudget", namespace, "cats-predictor"))
    assert api.get("ServiceAccount", namespace, "cats-predictor")["secrets"] == [{"name": "store"}]
    apply(api, namespace, model=model, scaling={"minReplicas": 1})
    eventually(lambda: api.get("PodDisruptionBudget", namespace, "cats-predictor") is None)
    eventually(lambda: "secrets" not in api.get("ServiceAccount", namespace, "cats-predictor"))


def test_a_strangers_object_is_left_alone_and_named(api: Api, namespace: str) -> None:
    stranger = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "cats-predictor", "namespace": namespace, "labels": {"app": "other"}},
    }
    api.create(stranger)
    apply(api, namespace)
    eventually(lambda: reason(api, namespace, "Accepted") == ("False", "Conflict"))
    found = condition(api.get("ModelDeployment", namespace, "cats"), "Ready")
    assert "ServiceAccount cats-predictor exists and does not belong" in found["message"]
    assert api.get("ServiceAccount", namespace, "cats-predictor")["metadata"]["labels"] == {"app": "other"}
    api.delete("ServiceAccount", namespace, "cats-predictor")
    eventually(lambda: ready(api, namespace), timeout_s=60)


def test_deleting_never_waits_for_the_controller(api: Api, namespace: str, controller: ControllerProcess) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    controller.stop()
    try:
        api.delete("ModelDeployment", namespace, "cats")
        eventually(lambda: left_with_our_label(api, namespace) == [], timeout_s=60)
        assert api.get("ModelDeployment", namespace, "cats") is None
    finally:
        controller.start()


def test_edits_made_while_the_controller_is_down_are_seen_by_the_next_one(
    api: Api, namespace: str, controller: ControllerProcess
) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    controller.stop()
    try:
        apply(api, namespace, scaling={"minReplicas": 3})
        apply(api, namespace, "dogs")
    finally:
        controller.start()
    eventually(lambda: api.get("InferenceService", namespace, "cats")["spec"]["predictor"]["minReplicas"] == 3)
    eventually(lambda: ready(api, namespace, "dogs"))


@pytest.mark.parametrize(
    ("spec", "expected", "words"),
    [
        ({"cache": {"ttl": "5m"}}, "NotYetSupported", "spec.cache is not supported yet"),
        ({"predictor": {"runtime": "custom"}}, "NotYetSupported", "spec.predictor.runtime: custom"),
        ({"scaling": {"minReplicas": 0}}, "NotYetSupported", "spec.scaling.minReplicas: 0"),
        (
            {"model": {"task": "image-classification", "storageUri": "file:///etc/passwd"}},
            "StorageUriForbidden",
            "file:// names a file of the machine",
        ),
        (
            {"model": {"task": "image-classification", "storageUri": "https://169.254.169.254/latest"}},
            "StorageUriForbidden",
            "got the address 169.254.169.254",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_spec_that_cannot_be_acted_on_says_why_and_makes_nothing(
    api: Api, namespace: str, spec: Object, expected: str, words: str
) -> None:
    apply(api, namespace, **spec)
    eventually(lambda: reason(api, namespace, "Ready") == ("False", expected))
    found = condition(api.get("ModelDeployment", namespace, "cats"), "Accepted")
    assert found["reason"] == expected
    assert words in found["message"]
    assert [each for kind in OURS for each in api.list(kind, namespace, labels=OWNER_LABEL)] == []


def test_an_edit_to_something_unsupported_leaves_the_service_serving(api: Api, namespace: str) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    uid = api.get("InferenceService", namespace, "cats")["metadata"]["uid"]
    apply(api, namespace, cache={"ttl": "5m"})
    eventually(lambda: reason(api, namespace, "Ready") == ("False", "NotYetSupported"))
    assert reason(api, namespace, "PredictorReady") == ("True", "Serving")
    assert api.get("InferenceService", namespace, "cats")["metadata"]["uid"] == uid


def test_a_change_of_the_pods_is_ready_only_when_the_pods_have_it(api: Api, namespace: str) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    apply(api, namespace, predictor={"image": "example.com/bad-image:2"})
    eventually(lambda: reason(api, namespace, "PredictorReady") == ("False", "ImagePullFailed"))
    apply(api, namespace, predictor={"image": "example.com/predictor:2"})
    eventually(lambda: ready(api, namespace))
    [container] = api.get("Deployment", namespace, "cats-predictor")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "example.com/predictor:2"


def test_a_weight_file_that_cannot_be_loaded_is_named_in_the_condition(api: Api, namespace: str) -> None:
    apply(api, namespace, predictor={"image": "example.com/bad-image:1"})
    [pod] = eventually(lambda: api.list("Pod", namespace, labels=f"{OWNER_LABEL}=cats"))
    eventually(
        lambda: reason(api, namespace, "PredictorReady") == ("False", "ImagePullFailed")
    )  # KServe's part is done
    said = "/mnt/models/model.safetensors: expected a safetensors file, but the header is longer than the file"
    ended = {"exitCode": 2, "reason": "Error", "message": said}
    container = {
        "name": "kserve-container",
        "image": "x",
        "imageID": "x",
        "ready": False,
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": ended},
    }
    api.patch_status("Pod", namespace, pod["metadata"]["name"], {"phase": "Pending", "containerStatuses": [container]})
    eventually(lambda: reason(api, namespace, "PredictorReady") == ("False", "ModelLoadFailed"))
    found = condition(api.get("ModelDeployment", namespace, "cats"), "Ready")
    assert (found["status"], found["reason"]) == ("False", "ModelLoadFailed")
    assert said in found["message"]
    assert pod["metadata"]["name"] in found["message"]


def test_transitions_become_events(api: Api, namespace: str) -> None:
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))

    def reasons() -> set[str]:
        events = api.list("v1/Event", namespace)
        return {each["reason"] for each in events if each["involvedObject"]["kind"] == "ModelDeployment"}

    eventually(lambda: reasons() >= {"Accepted", "Serving", "Routed", "Ready"})


def test_kubectl_scale_writes_a_fixed_number_of_copies(api: Api, namespace: str, control_plane: Cluster) -> None:
    apply(api, namespace, scaling={"replicas": 2})
    eventually(lambda: ready(api, namespace))
    control_plane.kubectl_run("scale", "mdep/cats", "--replicas=4", "-n", namespace)
    eventually(lambda: api.get("InferenceService", namespace, "cats")["spec"]["predictor"]["minReplicas"] == 4)
    eventually(lambda: api.get("Deployment", namespace, "cats-predictor")["spec"]["replicas"] == 4)
    scale = api.request("GET", api.path("ModelDeployment", namespace, "cats") + "/scale")
    assert scale["spec"]["replicas"] == 4
    eventually(lambda: api.get("ModelDeployment", namespace, "cats")["status"]["replicas"] == 4)
    assert api.list("Pod", namespace, labels=scale["status"]["selector"])


def test_a_quota_refuses_in_the_api_servers_words_and_heals_by_itself(api: Api, namespace: str) -> None:
    api.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": namespace},
            "spec": {"hard": {"count/servingruntimes.serving.kserve.io": "0"}},
        }
    )
    eventually(lambda: "hard" in api.get("ResourceQuota", namespace, "none").get("status", {}))
    apply(api, namespace)
    eventually(lambda: reason(api, namespace, "Accepted") == ("False", "ApplyFailed"), timeout_s=60)
    assert "exceeded quota" in condition(api.get("ModelDeployment", namespace, "cats"), "Accepted")["message"]
    api.delete("ResourceQuota", namespace, "none")
    eventually(lambda: ready(api, namespace), timeout_s=60)


@pytest.mark.timeout(600)
def test_two_hundred_at_once_all_become_ready_and_are_deleted_at_once_while_a_new_one_is_made(
    api: Api, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.perf_counter()
    for index in range(MANY):
        apply(api, namespace, f"m{index}")
    applied_s = time.perf_counter() - started

    def all_ready() -> bool:
        found = api.list("ModelDeployment", namespace)
        return sum(condition(each, "Ready").get("status") == "True" for each in found) == MANY

    eventually(all_ready, timeout_s=240, interval_s=1)
    with capsys.disabled():
        print(f"\n  {MANY} applied in {applied_s:.1f} s, all Ready {time.perf_counter() - started:.1f} s", end=" ")
    for kind in ("InferenceService", "ServingRuntime", "ServiceAccount", "NetworkPolicy"):
        assert len(api.list(kind, namespace, labels=OWNER_LABEL)) == MANY

    for index in range(MANY):
        api.delete("ModelDeployment", namespace, f"m{index}")
    apply(api, namespace, "fresh")
    eventually(lambda: ready(api, namespace, "fresh"), timeout_s=120)
    for kind in ("InferenceService", "ServingRuntime", "ServiceAccount", "NetworkPolicy"):
        eventually(
            lambda kind=kind: len(api.list(kind, namespace, labels=OWNER_LABEL)) == 1, timeout_s=240, interval_s=1
        )


def test_the_controller_may_do_no_more_than_it_must(controller: ControllerProcess, control_plane: Cluster) -> None:
    forbidden = ["secrets", "configmaps", "nodes", "pods/exec"]  # nodes may be listed, which `get` is not
    said = {
        what: control_plane.kubectl_run("auth", "can-i", "get", what, f"--as={USER}", "-A", check=False).strip()
        for what in forbidden
    }
    assert set(said.values()) == {"no"}, said


def test_rendered_objects_pass_kserves_own_schema(api: Api, namespace: str) -> None:
    from moorage.api import check
    from moorage.render import render

    specs = [
        document(),
        document(scaling={"replicas": 3}),
        document(model={"task": "image-classification", "storageUri": "hf://org/repo", "storageSecret": "s"}),
        document(predictor={"image": "a/b:1", "imagePullSecrets": ["x"]}, health={"liveness": {"periodSeconds": 3}}),
        document(predictor={"runtime": "torchserve"}),
        document(model={"task": "custom", "class": "harbour:Tides"}, predictor={"image": "a/b:1"}),
    ]
    for spec in specs:
        spec["metadata"]["namespace"] = namespace
        for manifest in render(check(spec)):
            api.apply(manifest, dry_run=True)


def test_a_refused_apply_names_the_field_and_the_fix(api: Api, namespace: str) -> None:
    with pytest.raises(ApiError) as error:
        apply(api, namespace, scaling={"minReplicas": 5, "maxReplicas": 2})
    assert error.value.status == 422
    assert "spec.scaling" in error.value.message
    assert "lower minReplicas or raise maxReplicas" in error.value.message
