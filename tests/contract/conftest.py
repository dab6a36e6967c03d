"""Fixtures of the contract tests: a real API server, a namespace per test, KServe or its stand-in, and our controller."""

import time
from collections.abc import Generator, Iterator

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure, what the controllers said last: a condition that did not come true has its reason there."""
    report = yield
    plane = getattr(item, "funcargs", {}).get("control_plane")
    if report.failed and plane is not None:
        for log in sorted(plane.run_dir.glob("*.log"), key=lambda path: path.stat().st_mtime):
            ours = [line for line in log.read_text(errors="replace").splitlines() if '"logger": "moorage.' in line]
            if ours and log.stat().st_mtime >= time.time() - 300:
                report.sections.append((f"last of {log.name}", "\n".join(ours[-25:])))
    return report
