"""The controller as tests run it: `moor controller` as a process of its own, under the identity and rights of install.yaml."""

import sys
import urllib.request
from pathlib import Path

import yaml
from tests.control_plane.client import eventually
from tests.control_plane.plane import Cluster
from tests.control_plane.process import Process, free_ports

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE, ACCOUNT = "moorage-system", "moorage-controller"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"


class ControllerProcess:
    """Start and stop it as often as a test likes."""

    def __init__(self, cluster: Cluster, log: Path) -> None:
        self._cluster, self._log = cluster, log
        for document in yaml.safe_load_all((ROOT / "manifests" / "install.yaml").read_text()):
            if document["kind"] != "Deployment":
                cluster.api.apply(document)
        self._kubeconfig = cluster.kubeconfig_for_service_account(NAMESPACE, ACCOUNT)
        self._process: Process | None = None
        self._port = 0

    def start(self) -> None:
        [self._port] = free_ports(1)
        command = [sys.executable, "-m", "moorage", "controller", f"--port={self._port}"]
        self._process = Process("moorage-controller", command, self._log, KUBECONFIG=str(self._kubeconfig))
        eventually(self._is_ready, timeout_s=60)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(timeout_s=20)
            self._process = None

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def _is_ready(self) -> bool:
        assert self._process is not None
        self._process.check()
        try:
            return bool(self.get("/readyz"))
        except OSError:
            return False
