"""Ready against the truth: whatever ends a pod is in the status within seconds, with the limit that was met and what to do."""

import json
import time
from typing import Any

import pytest
from tests.contract import kubelet_standin as kubelet
from tests.contract.kubelet_standin import Kubelet
from tests.contract.spec_table import document
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.plane import Cluster

from moorage.render import OWNER_LABEL

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve", "controller")]

Object = dict[str, Any]

CASES: dict[str, tuple[Object, str, list[str]]] = {
    "oom": (
        kubelet.crashing(137, "OOMKilled"),
        "OutOfMemory",
        ["its limit of 4Gi (restarted 3 times)", "raise spec.predictor.resources.limits.memory"],
    ),
    "crash": (
        kubelet.crashing(1, message="Traceback (most recent call last):\n  File x\nRuntimeError: no luck\n"),
        "CrashLooping",
        ["exit code 1", "RuntimeError: no luck", "kubectl logs"],
    ),
    "load": (
        kubelet.crashing(2, message="/mnt/models/model.safetensors: the header is longer than the file"),
        "ModelLoadFailed",
        ["/mnt/models/model.safetensors: the header is longer than the file", "spec.model"],
    ),
    "storage": (
        kubelet.initializer_crashing(
            "INFO copying\nTraceback (most recent call last):\nbotocore: NoSuchBucket: cats\n"
        ),
        "StorageFailed",
        ["botocore: NoSuchBucket: cats", "correct spec.model.storageUri"],
    ),
    "image": (
        kubelet.waiting("ImagePullBackOff", 'Back-off pulling image "example.com/predictor:1": not found'),
        "ImagePullFailed",
        ['"example.com/predictor:1": not found', "spec.predictor.imagePullSecrets"],
    ),
    "config": (
        kubelet.waiting("CreateContainerConfigError", 'secret "store" not found'),
        "ContainerConfigFailed",
        ['secret "store" not found'],
    ),
    "place": (
        kubelet.unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        "Unschedulable",
        ["3 Insufficient nvidia.com/gpu", "it asks for cpu", "add nodes"],
    ),
    "silent": (kubelet.silent(), "NotAnswering", ["readiness probe since 2026-01-01T00:00:00Z", "kubectl logs"]),
    "volumes": (kubelet.without_volumes(), "VolumesNotMounted", ["make what is missing"]),
}
STALLED = set(CASES) - {"place", "silent", "volumes"}


def apply(api: Api, namespace: str, name: str, **spec: Any) -> None:
    made = document(name, scaling={"replicas": 1}, **spec)
    made["metadata"]["namespace"] = namespace
    api.apply(made)


def ready(api: Api, namespace: str, name: str) -> tuple[str, str]:
    found = condition(api.get("ModelDeployment", namespace, name), "Ready")
    return found.get("status", ""), found.get("reason", "")


def pod_of(api: Api, namespace: str, name: str) -> Object:
    [pod] = api.list("Pod", namespace, labels=f"{OWNER_LABEL}={name}")
    return pod


def test_whatever_ends_a_pod_is_in_ready_within_seconds_and_heals(
    api: Api, namespace: str, control_plane: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    node = Kubelet(api, namespace)
    for name in CASES:
        apply(api, namespace, name)
    eventually(lambda: all(ready(api, namespace, name) == ("True", "Ready") for name in CASES), timeout_s=60)
    pods = {name: pod_of(api, namespace, name) for name in CASES}
    for pod in pods.values():
        node.take(pod)
        node.say(pod, kubelet.ready())
    took_s = {}
    for name, (state, reason, _) in CASES.items():
        started = time.perf_counter()
        node.say(pods[name], state)
        eventually(lambda name=name, reason=reason: ready(api, namespace, name) == ("False", reason))
        took_s[name] = time.perf_counter() - started

    rows = control_plane.kubectl_run("get", "mdep", "-n", namespace, "--no-headers").splitlines()
    assert {row.split()[0]: row.split()[1:3] for row in rows} == {name: ["False", CASES[name][1]] for name in CASES}
    for name, (_, _, words) in CASES.items():
        found = api.get("ModelDeployment", namespace, name)
        message = condition(found, "Ready")["message"]
        assert [word for word in [pods[name]["metadata"]["name"], *words] if word not in message] == [], message
        assert bool(condition(found, "Stalled")) == (name in STALLED), name
        assert bool(condition(found, "Reconciling")) == (name not in STALLED), name

    for pod in pods.values():
        node.say(pod, kubelet.ready())
    eventually(lambda: all(ready(api, namespace, name) == ("True", "Ready") for name in CASES))
    kinds = {
        each["type"] for name in CASES for each in api.get("ModelDeployment", namespace, name)["status"]["conditions"]
    }
    assert kinds.isdisjoint({"Stalled", "Reconciling"})
    with capsys.disabled():
        print(f"\n  told after {max(took_s.values()):.2f} s at most", end=" ")


def test_a_pod_that_crashes_again_and_again_is_told_by_two_events_only(api: Api, namespace: str) -> None:
    node = Kubelet(api, namespace)
    apply(api, namespace, "cats")
    eventually(lambda: ready(api, namespace, "cats")[0] == "True")
    pod = pod_of(api, namespace, "cats")
    node.take(pod)
    for restarts in range(2, 7):
        node.say(pod, kubelet.crashing(1, message="boom", restarts=restarts))
        words = f"restarted {restarts} times"
        eventually(
            lambda words=words: words in condition(api.get("ModelDeployment", namespace, "cats"), "Ready")["message"]
        )
    told = [
        each["message"].split("=")[0]
        for each in api.list("v1/Event", namespace)
        if each["involvedObject"]["kind"] == "ModelDeployment" and each["reason"] == "CrashLooping"
    ]
    assert sorted(told) == ["PredictorReady", "Ready"]


def test_a_copy_that_fails_beside_good_ones_degrades_the_model(api: Api, namespace: str) -> None:
    node = Kubelet(api, namespace)
    made = document("cats", scaling={"replicas": 5})  # of five one may be missing for a Deployment to be available
    made["metadata"]["namespace"] = namespace
    api.apply(made)
    eventually(lambda: ready(api, namespace, "cats") == ("True", "Ready"), timeout_s=60)
    pod = api.list("Pod", namespace, labels=f"{OWNER_LABEL}=cats")[0]
    node.take(pod)
    node.say(pod, kubelet.crashing(137, "OOMKilled"))
    eventually(lambda: ready(api, namespace, "cats") == ("True", "Degraded"))
    message = condition(api.get("ModelDeployment", namespace, "cats"), "Ready")["message"]
    assert message.startswith(f"4 of 5 copies answer; pod {pod['metadata']['name']}: ")


def test_pods_that_a_quota_refuses_are_told_in_its_words_and_come_once_it_is_raised(api: Api, namespace: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    api.create(quota)
    eventually(lambda: "hard" in api.get("ResourceQuota", namespace, "few").get("status", {}))
    apply(api, namespace, "cats")
    eventually(lambda: ready(api, namespace, "cats") == ("False", "PodsRefused"), timeout_s=60)
    message = condition(api.get("ModelDeployment", namespace, "cats"), "Ready")["message"]
    assert "exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0" in message
    assert "raise the ResourceQuota, or lower spec.predictor.resources" in message
    api.patch("ResourceQuota", namespace, "few", {"spec": {"hard": {"pods": "8"}}})
    eventually(lambda: ready(api, namespace, "cats") == ("True", "Ready"), timeout_s=60)


def test_pods_that_a_limit_range_refuses_are_told_in_its_words_and_others_are_served(api: Api, namespace: str) -> None:
    limit = {"type": "Container", "max": {"memory": "4Gi"}, "default": {"memory": "4Gi"}}
    api.create(
        {
            "apiVersion": "v1",
            "kind": "LimitRange",
            "metadata": {"name": "small", "namespace": namespace},
            "spec": {"limits": [limit]},
        }
    )
    resources = {"requests": {"memory": "1Gi"}, "limits": {"memory": "9Gi"}}
    container = {"name": "probe", "image": "example.com/probe:1", "resources": resources}
    probe = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "probe"}, "spec": {"containers": [container]}}
    # The API server learns of it by a watch of its own.
    eventually(lambda: "per Container is 4Gi" in api.judge(api.path("Pod", namespace), probe).get("message", ""))
    apply(api, namespace, "cats", predictor={"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "9Gi"}}})
    apply(api, namespace, "dogs")
    eventually(lambda: ready(api, namespace, "cats") == ("False", "PodsRefused"), timeout_s=60)
    message = condition(api.get("ModelDeployment", namespace, "cats"), "Ready")["message"]
    assert "maximum memory usage per Container is 4Gi, but limit is 9Gi" in message
    eventually(lambda: ready(api, namespace, "dogs") == ("True", "Ready"), timeout_s=60)


def test_kubectl_waits_for_ready_and_for_its_opposite(api: Api, namespace: str, control_plane: Cluster) -> None:
    apply(api, namespace, "cats", predictor={"image": "example.com/bad-image:1"})
    wait = ("wait", "mdep/cats", "-n", namespace)
    assert "condition met" in control_plane.kubectl_run(*wait, "--for=condition=Ready=false", "--timeout=30s")
    assert "condition met" not in control_plane.kubectl_run(*wait, "--for=condition=Ready", "--timeout=1s", check=False)
    apply(api, namespace, "cats", predictor={"image": "example.com/predictor:1"})
    assert "condition met" in control_plane.kubectl_run(*wait, "--for=condition=Ready", "--timeout=60s")


def test_no_condition_ever_speaks_of_a_generation_that_was_not_there_yet(api: Api, namespace: str) -> None:
    """Every version of the object that anybody could have seen during fifty hasty edits."""
    apply(api, namespace, "cats")
    start = api.get("ModelDeployment", namespace, "cats")["metadata"]["resourceVersion"]
    for index in range(50):
        spec = (
            {"cache": {"ttl": "5m"}} if index % 5 == 4 else {"predictor": {"image": f"example.com/predictor:{index}"}}
        )
        apply(api, namespace, "cats", **spec)
    apply(api, namespace, "cats")
    eventually(lambda: ready(api, namespace, "cats") == ("True", "Ready"), timeout_s=60)
    text = api.request(
        "GET", api.path("ModelDeployment", namespace), watch="true", resourceVersion=start, timeoutSeconds=1
    )
    seen = [json.loads(line)["object"] for line in text.splitlines()]
    assert len(seen) > 50
    for body in seen:
        generation, status = body["metadata"]["generation"], body["status"]
        claimed = [status["observedGeneration"], *(each["observedGeneration"] for each in status.get("conditions", []))]
        assert max(claimed) <= generation
    last = seen[-1]
    assert last["status"]["observedGeneration"] == last["metadata"]["generation"]


def test_before_the_first_look_the_status_says_that_there_was_none(api: Api, namespace: str) -> None:
    made = document("cats")
    made["metadata"]["namespace"] = namespace
    assert api.create(made)["status"] == {"observedGeneration": -1}
