"""A cluster that gets KServe after Moorage, loses its CRD, and whose store stops: said plainly, healed without a restart.

It has a control plane of its own, since nobody else could work on it meanwhile.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.controller_process import USER, ControllerProcess
from tests.contract.spec_table import document
from tests.control_plane import binaries
from tests.control_plane.client import condition, eventually
from tests.control_plane.fixtures import crd_folders
from tests.control_plane.outage import STRESS_S, lasting
from tests.control_plane.plane import ControlPlane

from moorage.controller.install import manifests

pytestmark = pytest.mark.cluster

INFERENCE_SERVICES = "inferenceservices.serving.kserve.io"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own with our CRD alone."""
    run_dir = tmp_path_factory.mktemp("without-kserve")
    try:
        found = binaries.find()
    except binaries.Unavailable as error:
        pytest.skip(str(error))
    plane = ControlPlane(run_dir / "plane", found, crds=crd_folders(run_dir)[:1])
    plane.start()
    yield plane
    plane.stop()


@pytest.fixture(scope="module")
def controller(bare: ControlPlane) -> Iterator[ControllerProcess]:
    process = ControllerProcess(bare, bare.run_dir / "controller.log", ["--watch-idle=5"])
    process.start()
    yield process
    process.stop()


@pytest.fixture
def kserve_there(bare: ControlPlane) -> None:
    """For what comes after the first test, also where that one is left out."""
    if bare.api.get("apiextensions.k8s.io/v1/CustomResourceDefinition", None, INFERENCE_SERVICES) is None:
        bare.apply_crds(crd_folders(bare.run_dir)[1:])


def apply(bare: ControlPlane, name: str, **spec: Any) -> None:
    made = document(name, **spec)
    made["metadata"]["namespace"] = "default"
    bare.api.apply(made)


def bounds(bare: ControlPlane, name: str) -> int:
    return bare.api.get("InferenceService", "default", name)["spec"]["predictor"]["maxReplicas"]


def test_kserve_that_comes_later_is_picked_up_without_a_restart(
    bare: ControlPlane, controller: ControllerProcess
) -> None:
    apply(bare, "cats")

    def accepted() -> tuple[str, str]:
        found = condition(bare.api.get("ModelDeployment", "default", "cats"), "Accepted")
        return found.get("status", ""), found.get("reason", "")

    eventually(lambda: accepted() == ("False", "KServeUnavailable"))
    said = condition(bare.api.get("ModelDeployment", "default", "cats"), "Ready")["message"]
    assert "install KServe" in said
    assert bare.api.get("ServiceAccount", "default", "cats-predictor"), "what needs no KServe is made all the same"

    def unavailable() -> str:
        return condition(bare.api.get("ModelDeployment", "default", "cats"), "KServeUnavailable").get("status", "")

    eventually(lambda: unavailable() == "True")

    bare.apply_crds(crd_folders(bare.run_dir)[1:])
    eventually(lambda: accepted() == ("True", "Accepted"), timeout_s=90)
    eventually(lambda: unavailable() == "", timeout_s=30)
    assert bare.api.get("InferenceService", "default", "cats")


@pytest.mark.usefixtures("kserve_there")
def test_a_crd_that_is_deleted_goes_with_all_its_objects_and_one_that_comes_back_is_served(
    bare: ControlPlane, controller: ControllerProcess
) -> None:
    crd, name = "apiextensions.k8s.io/v1/CustomResourceDefinition", "modeldeployments.moorage.dev"
    apply(bare, "dogs")
    eventually(lambda: bare.api.get("InferenceService", "default", "dogs"))
    bare.api.delete(crd, None, name)
    eventually(lambda: bare.api.get(crd, None, name) is None, timeout_s=60)
    eventually(lambda: bare.api.get("ServiceAccount", "default", "dogs-predictor") is None, timeout_s=60)
    bare.apply_crds(crd_folders(bare.run_dir)[:1])
    apply(bare, "dogs")
    eventually(lambda: bare.api.get("InferenceService", "default", "dogs"), timeout_s=30)
    assert controller.running


@pytest.mark.usefixtures("kserve_there")
def test_an_annotation_of_kopfs_that_no_policy_has_kept_out_is_in_nobodys_way(
    bare: ControlPlane, controller: ControllerProcess
) -> None:
    policy = [each for each in manifests() if each["kind"].startswith("ValidatingAdmissionPolicy")]
    for each in policy:
        bare.api.delete(f"{each['apiVersion']}/{each['kind']}", None, each["metadata"]["name"])
    apply(bare, "ducks")
    bad = {"metadata": {"annotations": {"kopf.zalando.org/last-handled-configuration": "{bad"}}}
    try:
        eventually(lambda: bare.api.patch("ModelDeployment", "default", "ducks", bad))
        apply(bare, "ducks", scaling={"minReplicas": 1, "maxReplicas": 7})
        eventually(lambda: bounds(bare, "ducks") == 7)
        bare.api.delete("ModelDeployment", "default", "ducks")
        assert bare.api.get("ModelDeployment", "default", "ducks") is None
    finally:
        for each in policy:
            bare.api.apply(each)


@pytest.mark.timeout(180 + STRESS_S)
@pytest.mark.usefixtures("kserve_there")
def test_a_store_that_stops_under_the_api_server_costs_the_lead_and_no_change(
    bare: ControlPlane, controller: ControllerProcess
) -> None:
    eventually(controller.leads)
    etcd = bare.process("etcd").pid
    os.kill(etcd, signal.SIGSTOP)
    try:
        with lasting():
            eventually(lambda: not controller.leads(), timeout_s=15)
            eventually(lambda: controller.readiness()["staleSince"]["leases"], timeout_s=15)
            assert controller.get("/healthz") == '{"live": true}'
    finally:
        os.kill(etcd, signal.SIGCONT)
    started = time.monotonic()
    eventually(lambda: apply(bare, "birds") or True, timeout_s=30)
    eventually(lambda: bare.api.get("InferenceService", "default", "birds"), timeout_s=30)
    assert time.monotonic() - started < 30


@pytest.mark.usefixtures("kserve_there")
def test_what_went_while_the_watches_slept_is_known_when_the_store_has_forgotten_how(
    bare: ControlPlane, controller: ControllerProcess
) -> None:
    for name in ("cats", "gulls"):
        apply(bare, name)
        eventually(lambda name=name: bare.api.get("InferenceService", "default", name))
    eventually(controller.leads)
    controller.signal(signal.SIGSTOP)
    slept_at = {
        kind: bare.api.request("GET", bare.api.path(kind, "default"))["metadata"]["resourceVersion"]
        for kind in ("ModelDeployment", "NetworkPolicy")
    }
    try:
        bare.api.delete("NetworkPolicy", "default", "cats-predictor")
        bare.api.delete("ModelDeployment", "default", "gulls")
        apply(bare, "cats", scaling={"minReplicas": 1, "maxReplicas": 7})
        bare.compact()
        bare.restart_api_server()  # with it goes what it remembers
        eventually(lambda: bare.api.get("ModelDeployment", "default", "cats"))
    finally:
        controller.signal(signal.SIGCONT)
    eventually(lambda: bounds(bare, "cats") == 7, timeout_s=30)
    eventually(lambda: bare.api.get("NetworkPolicy", "default", "cats-predictor"), timeout_s=30)
    eventually(lambda: bare.api.get("ServiceAccount", "default", "gulls-predictor") is None, timeout_s=60)
    for kind, version in slept_at.items():
        path = bare.api.path(kind, "default")
        told = bare.api.request("GET", path, watch="true", resourceVersion=version, timeoutSeconds=1)
        assert '"code":410' in (told if isinstance(told, str) else json.dumps(told, separators=(",", ":"))), kind


@pytest.mark.usefixtures("kserve_there")
def test_an_api_server_that_restarts_loses_no_model_and_no_change(
    bare: ControlPlane, controller: ControllerProcess
) -> None:
    apply(bare, "cats")
    eventually(lambda: bare.api.get("InferenceService", "default", "cats"))
    eventually(controller.leads)
    mark = bare.audit.mark()
    bare.restart_api_server()
    eventually(lambda: bare.api.get("ModelDeployment", "default", "cats"))
    eventually(controller.leads, timeout_s=30)
    bare.api.delete("NetworkPolicy", "default", "cats-predictor")
    eventually(lambda: bare.api.get("NetworkPolicy", "default", "cats-predictor"), timeout_s=30)

    def fresh() -> bool:
        said = controller.readiness()
        assert said["ready"], said
        return True

    eventually(fresh, timeout_s=90)  # a new look at the kind, then the first recount
    deleted = [each for each in bare.audit.writes(since=mark, user=USER) if each.verb == "delete"]
    assert deleted == [], "nothing was taken for gone"
