"""What a cluster gets and loses while the controller runs is in the status of those who ask for it, without a restart."""

import json
from typing import Any

import pytest
from tests.contract.controller_process import ControllerProcess
from tests.contract.spec_table import document
from tests.control_plane.client import Api, condition, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve")]

KIND = "apiextensions.k8s.io/v1/CustomResourceDefinition"
NAME = "pods.metrics.k8s.io"
METRICS_SERVER = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": NAME, "annotations": {"api-approved.kubernetes.io": "unapproved, in a test"}},
    "spec": {
        "group": "metrics.k8s.io",
        "names": {"kind": "PodMetrics", "plural": "pods"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            }
        ],
    },
}
"""In discovery it looks like metrics-server's API."""


def lacking(api: Api, namespace: str, name: str) -> dict[str, Any]:
    return condition(api.get("ModelDeployment", namespace, name), "ResourceMetricsUnavailable")


GPU_NODE = "a-node-with-gpus"


def gpu(api: Api, namespace: str) -> dict[str, Any]:
    return condition(api.get("ModelDeployment", namespace, "gpu"), "GPUUnavailable")


def ready(api: Api, namespace: str, name: str) -> bool:
    return condition(api.get("ModelDeployment", namespace, name), "Ready").get("status") == "True"


def test_what_is_asked_for_and_missing_is_told_until_it_comes_and_again_when_it_has_gone(
    api: Api, namespace: str, controller: ControllerProcess
) -> None:
    groups = api.request("GET", "/apis")["groups"]
    if any(each["name"] == "metrics.k8s.io" for each in groups):
        pytest.skip("this cluster has a metrics-server")
    wants_gpu = document("gpu", predictor={"gpu": {"count": 1}}, scaling={"replicas": 1})
    wants_gpu["metadata"]["namespace"] = namespace
    api.apply(wants_gpu)
    for name, scaling in (("scaled", {"minReplicas": 1, "maxReplicas": 3}), ("fixed", {"replicas": 1})):
        made = document(name, scaling=scaling)
        made["metadata"]["namespace"] = namespace
        api.apply(made)
    eventually(lambda: ready(api, namespace, "scaled") and ready(api, namespace, "fixed"), timeout_s=60)
    told = eventually(lambda: lacking(api, namespace, "scaled"))
    assert (told["status"], told["reason"]) == ("True", "NotInstalled")
    assert "it stays at 1 of 3 copies; install metrics-server" in told["message"]
    assert lacking(api, namespace, "fixed") == {}, "which does not ask for it"
    told = eventually(lambda: gpu(api, namespace))
    assert "no node offers nvidia.com/gpu" in told["message"]
    assert "device plugin" in told["message"]
    try:
        api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": GPU_NODE}})
        amounts = {"cpu": "8", "nvidia.com/gpu": "2"}
        api.patch_status("Node", None, GPU_NODE, {"capacity": amounts, "allocatable": amounts})
        api.apply(METRICS_SERVER)  # a change of discovery, at which nodes are looked at too
        eventually(lambda: lacking(api, namespace, "scaled") == {}, timeout_s=40)
        eventually(lambda: gpu(api, namespace) == {})
        assert ready(api, namespace, "scaled")
    finally:
        api.delete("Node", None, GPU_NODE)
        api.delete(KIND, None, NAME)
    eventually(lambda: lacking(api, namespace, "scaled") and gpu(api, namespace), timeout_s=40)
    lines = [json.loads(line) for line in controller.log().splitlines() if "capabilities" in line]
    assert "ResourceMetrics" in lines[-2]["features"]
    assert "ResourceMetrics" not in lines[-1]["features"]
    assert [line["extended_resources"] for line in lines[-2:]] == [["nvidia.com/gpu"], []]
