"""The controller as tests run it: `moor controller` as a process of its own, under the identity and rights of install.yaml."""

import base64
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.control_plane.client import eventually
from tests.control_plane.plane import Cluster
from tests.control_plane.process import Process, free_ports

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE, ACCOUNT = "moorage-system", "moorage-controller"
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"


class ControllerProcess:
    """Start and stop it as often as a test likes.

    Args:
        arguments: more of them for `moor controller`.
        url: the API server, where it is to be reached by another way than its own.
        install: what to apply first; its Deployment is left out, since the process stands for it.
        home: the namespace of its ServiceAccount.
        environment: variables for the process.
    """

    def __init__(
        self,
        cluster: Cluster,
        log: Path,
        arguments: Sequence[str] = (),
        *,
        url: str | None = None,
        install: str | None = None,
        home: str = NAMESPACE,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = dict(environment or {})
        self._cluster, self._log, self._arguments, self._url, self._home = cluster, log, arguments, url, home
        for document in yaml.safe_load_all(install or (ROOT / "manifests" / "install.yaml").read_text()):
            if document["kind"] != "Deployment":
                cluster.api.apply(document)
        self.kubeconfig = log.with_suffix(".kubeconfig")
        self.renew_token()
        self._process: Process | None = None
        self._port = 0

    def renew_token(self) -> str:
        """Put a fresh token where the process finds it, as the kubelet does; returns the one that was there."""
        config = json.loads(self._cluster.kubeconfig_for_service_account(self._home, ACCOUNT).read_text())
        if self._url:
            config["clusters"][0]["cluster"]["server"] = self._url
        before = json.loads(self.kubeconfig.read_text()) if self.kubeconfig.exists() else config
        self._replace(config)
        token: str = before["users"][0]["user"]["token"]
        return token

    def trust(self, authority: Path) -> None:
        """Put another CA where the process finds it."""
        config = json.loads(self.kubeconfig.read_text())
        data = base64.b64encode(authority.read_bytes()).decode()
        config["clusters"][0]["cluster"]["certificate-authority-data"] = data
        self._replace(config)

    def _replace(self, kubeconfig: dict[str, Any]) -> None:
        fresh = self.kubeconfig.with_suffix(".fresh")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(kubeconfig))
        fresh.replace(self.kubeconfig)

    def start(self, *, ready: bool = True) -> None:
        [self._port] = free_ports(1)
        command = [sys.executable, "-m", "moorage", "controller", f"--port={self._port}", *self._arguments]
        self._process = Process(
            "moorage-controller", command, self._log, KUBECONFIG=str(self.kubeconfig), **self._environment
        )
        if ready:
            eventually(self._is_ready, timeout_s=60)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def readiness(self) -> dict[str, object]:
        """The body of /readyz, whatever its status."""
        try:
            body: dict[str, object] = json.loads(self.get("/readyz"))
        except urllib.error.HTTPError as error:
            body = json.loads(error.read())
        return body

    def leads(self) -> bool:
        try:
            return bool(self.readiness()["leading"])
        except OSError:
            return False

    @property
    def identity(self) -> str:
        """What the running process calls itself in the API server's audit log."""
        lines = [line for line in self.log().splitlines() if '"controller started"' in line]
        started: str = json.loads(lines[-1])["identity"]
        return started

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
