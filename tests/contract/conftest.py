"""Fixtures of the contract tests: a real API server, a namespace per test, KServe or its stand-in, and our controller."""

from collections.abc import Iterator

import pytest
from tests.contract.controller_process import ControllerProcess
from tests.control_plane.fixtures import api, control_plane, kserve, kubeconfig, namespace
from tests.control_plane.plane import Cluster

__all__ = ["api", "control_plane", "kserve", "kubeconfig", "namespace"]


@pytest.fixture(scope="session")
def controller(control_plane: Cluster) -> Iterator[ControllerProcess]:
    """Our controller, running; a test that stops it starts it again."""
    process = ControllerProcess(control_plane, control_plane.run_dir / "controller.log")
    process.start()
    yield process
    process.stop()
