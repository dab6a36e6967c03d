"""A cluster that gets KServe after Moorage: said plainly, and healed without a restart."""

from collections.abc import Iterator

import pytest
from tests.contract.controller_process import ControllerProcess
from tests.contract.spec_table import document
from tests.control_plane import binaries
from tests.control_plane.client import condition, eventually
from tests.control_plane.fixtures import crd_folders
from tests.control_plane.plane import ControlPlane

pytestmark = pytest.mark.cluster


@pytest.fixture
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


def test_kserve_that_comes_later_is_picked_up_without_a_restart(bare: ControlPlane) -> None:
    controller = ControllerProcess(bare, bare.run_dir / "controller.log")
    controller.start()
    try:
        cats = document()
        cats["metadata"]["namespace"] = "default"
        bare.api.apply(cats)

        def accepted() -> tuple[str, str]:
            found = condition(bare.api.get("ModelDeployment", "default", "cats"), "Accepted")
            return found.get("status", ""), found.get("reason", "")

        eventually(lambda: accepted() == ("False", "KServeUnavailable"))
        said = condition(bare.api.get("ModelDeployment", "default", "cats"), "Ready")["message"]
        assert "install KServe" in said
        assert bare.api.get("ServiceAccount", "default", "cats-predictor"), "what needs no KServe is made all the same"

        bare.apply_crds(crd_folders(bare.run_dir)[1:])
        eventually(lambda: accepted() == ("True", "Accepted"), timeout_s=90)
        assert bare.api.get("InferenceService", "default", "cats")
    finally:
        controller.stop()
