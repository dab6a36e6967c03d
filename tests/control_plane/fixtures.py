"""The fixtures of every test that needs a real API server. A conftest.py imports them by name.

`control_plane` is one for the whole session: starting it costs seconds, a namespace costs nothing.
"""

import contextlib
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import closing_line
from tests.control_plane import binaries, kserve_crds
from tests.control_plane.binaries import REPOSITORY
from tests.control_plane.client import Api, documents
from tests.control_plane.plane import Cluster, ControlPlane, LentCluster
from tests.control_plane.process import Process

KSERVE_STANDIN = REPOSITORY / "tests" / "contract" / "kserve_standin.py"
KSERVE_STANDIN_RBAC = REPOSITORY / "tests" / "contract" / "kserve_standin_rbac"
KSERVE_STANDIN_NAMESPACE = "kserve-standin"
KSERVE_STANDIN_ACCOUNT = "kserve-standin"


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real cluster with our CRDs and KServe's: `.kubeconfig`, `.api`, `.kubectl`, `.audit` and more."""
    run_dir = tmp_path_factory.mktemp("control-plane")
    with contextlib.closing(_Stopper(_cluster(run_dir))) as stopper:
        yield stopper.cluster


@pytest.fixture(scope="session")
def kubeconfig(control_plane: Cluster) -> Path:
    """The admin's kubeconfig."""
    return control_plane.kubeconfig


@pytest.fixture(scope="session")
def api(control_plane: Cluster) -> Api:
    """The admin's client."""
    return control_plane.api


@pytest.fixture
def namespace(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace of this test's own, deleted afterwards without waiting."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.originalname.removeprefix("test_").lower())[:30].strip("-")
    name = f"t-{slug}-{secrets.token_hex(3)}"
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "moorage-tests"}},
        }
    )
    yield name
    api.delete("Namespace", None, name)


@pytest.fixture(scope="session")
def kserve(control_plane: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """KServe's controller: the cluster's own if it has one (`real`), else our stand-in as a process (`stand-in`)."""
    if _has_real_kserve(control_plane.api):
        yield "real"
        return
    closing_line.note_not_real(request.config, KSERVE_STANDIN)
    api = control_plane.api
    for document in documents(KSERVE_STANDIN_RBAC):
        api.apply(document)
    kubeconfig = control_plane.kubeconfig_for_service_account(KSERVE_STANDIN_NAMESPACE, KSERVE_STANDIN_ACCOUNT)
    log = control_plane.run_dir / "kserve-standin.log"
    process = Process("kserve-standin", [sys.executable, KSERVE_STANDIN, "--kubeconfig", kubeconfig], log)
    try:
        yield "stand-in"
        process.check()
    finally:
        process.stop()
        if isinstance(control_plane, LentCluster):
            for document in reversed(list(documents(KSERVE_STANDIN_RBAC))):
                api.delete(f"{document['apiVersion']}/{document['kind']}", None, document["metadata"]["name"])


def crd_folders(run_dir: Path, lent: LentCluster | None = None) -> list[Path]:
    """Our own CRDs and KServe's: given, else already on the cluster, else generated."""
    folders = [REPOSITORY / "crds"]
    given = kserve_crds.given()
    if given is not None:
        folders.append(given)
    elif lent is None or not lent.has_kind("serving.kserve.io/v1beta1/InferenceService"):
        folders.append(kserve_crds.generate(run_dir / "kserve-crds"))
    return folders


class _Stopper:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def close(self) -> None:
        self.cluster.stop()


def _cluster(run_dir: Path) -> Cluster:
    """KUBEBUILDER_ASSETS, then a lent cluster, then our own build; a skip with its reason where none is to be had."""
    lent_kubeconfig = os.environ.get("MOORAGE_TEST_KUBECONFIG")
    if lent_kubeconfig and not os.environ.get("KUBEBUILDER_ASSETS"):
        lent = LentCluster(run_dir, Path(lent_kubeconfig))
        lent.apply_crds(crd_folders(run_dir, lent))
        return lent
    try:
        found = binaries.find()
    except binaries.Unavailable as error:
        pytest.skip(str(error))
    plane = ControlPlane(run_dir / "plane", found, crds=crd_folders(run_dir))
    plane.start()
    return plane


def _has_real_kserve(api: Api) -> bool:
    return any(each["metadata"]["name"] == "kserve-controller-manager" for each in api.list("apps/v1/Deployment"))
