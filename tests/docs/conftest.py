"""Fixtures of the documentation's tests: a folder to work in, the server of `make run`, and a cluster as a reader has it.

The cluster is not the contract tests' own: it has KServe's CRDs and not ours, because the first thing the pages do is to
apply ours.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.contract.controller_process import ControllerProcess
from tests.control_plane import binaries, fixtures
from tests.control_plane.fixtures import api, kserve, kubeconfig
from tests.control_plane.plane import Cluster, ControlPlane, LentCluster
from tests.control_plane.process import free_ports
from tests.docs.blocks import ROOT

from moorage.api.predictor import LoadProgress

__all__ = ["api", "kserve", "kubeconfig"]

COPIED = ("crds", "manifests", "kind-config.yaml", "Makefile", "pyproject.toml")
LINKED = ("tests", "tools")
PATIENCE_S = 120
SERVING = ("serving on ", LoadProgress("ready", 1, 1).line().rstrip("}"))
"""What `moor up` and `moor serve` print once they answer."""


class Server:
    """A command that serves until Ctrl-C, with the ports that the pages name replaced by free ones."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.http_port, self.grpc_port = free_ports(2)
        ports = f"--http-port={self.http_port} --grpc-port={self.grpc_port}"
        command = [*command, f"PORTS={ports}"] if command[0] == "make" else [*command, *ports.split()]
        self._lines: list[str] = []
        self._serving = threading.Event()
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait(self) -> "Server":
        assert self._serving.wait(PATIENCE_S), self.output
        assert self._process.poll() is None, self.output
        return self

    @property
    def output(self) -> str:
        """What it printed, with the pages' ports."""
        return self.to_page("".join(self._lines))

    def here(self, text: str) -> str:
        """A block of a page, with this server's ports."""
        return text.replace("127.0.0.1:8080", f"127.0.0.1:{self.http_port}").replace(
            "127.0.0.1:8081", f"127.0.0.1:{self.grpc_port}"
        )

    def to_page(self, text: str) -> str:
        return text.replace(f"127.0.0.1:{self.http_port}", "127.0.0.1:8080").replace(
            f"127.0.0.1:{self.grpc_port}", "127.0.0.1:8081"
        )

    def stop(self) -> str:
        """Ctrl-C, as a terminal sends it: to the whole group. Returns all that was printed."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._reader.join(10)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self.output

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if line.startswith(SERVING):
                self._serving.set()
        self._serving.set()  # it ended: wait() says so


def environment(**more: str) -> dict[str, str]:
    """Of a reader's shell: nothing of make's or pytest's own, and the environment's programs first."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTEST", "CI"))
    }
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the repository's root, as far as the pages need it, so that what they write is not written into it."""
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for name in LINKED:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[[list[str]], Server]]:
    """Starts servers, one at a time: the next one takes the place of the one before, the last one ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(command: list[str]) -> Server:
            stack.close()
            server = Server(command, folder)
            stack.callback(server.stop)
            return server.wait()

        yield start


@pytest.fixture(scope="session")
def make_run() -> Iterator[Server]:
    """`make run`, really, in the repository's root; one for all pages that speak of it."""
    server = Server(["make", "run"], ROOT)
    try:
        yield server.wait()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with KServe's CRDs and without ours."""
    run_dir = tmp_path_factory.mktemp("docs-control-plane")
    lent_kubeconfig = os.environ.get("MOORAGE_TEST_KUBECONFIG")
    if lent_kubeconfig and not os.environ.get("KUBEBUILDER_ASSETS"):
        lent = LentCluster(run_dir, Path(lent_kubeconfig))
        if lent.kubectl is None:
            pytest.skip("no kubectl on this machine")
        lent.apply_crds(_without_ours(fixtures.crd_folders(run_dir, lent)))
        yield lent
        return
    try:
        found = binaries.find()
    except binaries.Unavailable as error:
        pytest.skip(str(error))
    plane = ControlPlane(run_dir / "plane", found, crds=_without_ours(fixtures.crd_folders(run_dir)))
    plane.start()
    try:
        yield plane
    finally:
        plane.stop()


def _without_ours(folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if folder != ROOT / "crds"]


@pytest.fixture
def controller(control_plane: Cluster, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Starts our controller once its Deployment has been applied, because the image it names is not there yet."""
    started: list[ControllerProcess] = []

    def start() -> None:
        if not started:
            started.append(ControllerProcess(control_plane, tmp_path / "controller.log"))
            started[0].start()

    yield start
    for process in started:
        process.stop()
