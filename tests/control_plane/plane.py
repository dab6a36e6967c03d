"""The cluster behind the tests: one we start on loopback, or one that a person lends us.

Both show the same face (kubeconfig, api, kubectl, kubeconfig_for_service_account). Only the first has an audit log and
can restart its API server.

    etcd  <-  kube-apiserver (RBAC, audit log)  <-  CRDs applied  <-  kube-controller-manager

The order matters: the controller-manager's garbage collector looks for new kinds only every 30 s, so that a CRD which
comes after it leaves orphans for that long.
"""

import base64
import json
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.control_plane import audit as audit_log
from tests.control_plane import pki
from tests.control_plane.binaries import Binaries
from tests.control_plane.client import Api, condition, documents, eventually
from tests.control_plane.process import Process, ProcessDied, free_ports

START_ATTEMPTS = 3
READY_TIMEOUT_S = 120.0
TOKEN_SECONDS = 24 * 3600
SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.244.0.0/16"
PORT_TAKEN = "address already in use"


class Cluster:
    """What every test may ask of the cluster at hand, ours or lent."""

    kubeconfig: Path
    kubectl: Path | None
    audit: audit_log.AuditLog | None = None

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._api: Api | None = None

    @property
    def api(self) -> Api:
        """The client of the admin."""
        if self._api is None:
            self._api = Api(self.kubeconfig)
        return self._api

    def apply_crds(self, folders: Sequence[Path]) -> None:
        """Apply every CRD of the folders and wait until the API server serves them."""
        names = []
        for folder in folders:
            for document in documents(folder):
                if document.get("kind") == "CustomResourceDefinition":
                    document.pop("status", None)
                    self.api.apply(document)
                    names.append(document["metadata"]["name"])
        for name in names:
            eventually(lambda name=name: self._is_established(name), timeout_s=READY_TIMEOUT_S)

    def kubectl_run(self, *words: str, check: bool = True, timeout_s: float = 60.0) -> str:
        """What kubectl prints on stdout, run as the admin; its words on stderr are in the error if it fails."""
        if self.kubectl is None:
            pytest.skip("no kubectl on this machine")
        command = [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(words)}: status {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a fresh token of an existing ServiceAccount, good for a day."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.api.request(
            "POST",
            path,
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": TOKEN_SECONDS},
            },
        )
        return pki.write_kubeconfig(
            self.run_dir / f"{namespace}.{name}.kubeconfig",
            self.url,
            self.ca,
            {"token": answer["status"]["token"]},
        )

    @property
    def url(self) -> str:
        return self.api._client.configuration.host

    @property
    def ca(self) -> Path:
        return Path(self.api._client.configuration.ssl_ca_cert)

    def stop(self) -> None:
        """Nothing of ours runs."""

    def _is_established(self, name: str) -> bool:
        crd = self.api.get("apiextensions.k8s.io/v1/CustomResourceDefinition", None, name)
        return condition(crd, "Established").get("status") == "True"


class LentCluster(Cluster):
    """A cluster that MOORAGE_TEST_KUBECONFIG names: somebody else's processes, so we start and stop none."""

    def __init__(self, run_dir: Path, kubeconfig: Path) -> None:
        super().__init__(run_dir)
        self.kubeconfig = kubeconfig
        found = shutil.which("kubectl")
        self.kubectl = Path(found) if found else None

    def has_kind(self, kind: str) -> bool:
        try:
            self.api.path(kind)
        except LookupError:
            return False
        return True


class ControlPlane(Cluster):
    """etcd, kube-apiserver and kube-controller-manager on free loopback ports; everything it writes is in `run_dir`."""

    def __init__(self, run_dir: Path, binaries: Binaries, crds: Sequence[Path] = ()) -> None:
        super().__init__(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        self._binaries = binaries
        self._crds = crds
        self._processes: list[Process] = []
        self.kubectl = binaries.kubectl
        self.kubeconfig = run_dir / "admin.kubeconfig"
        self.audit_log_path = run_dir / "audit.log"
        self.audit = audit_log.AuditLog(self.audit_log_path)
        self.timings: dict[str, float] = {}

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca(self) -> Path:
        return self._authority.pair.certificate_path

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def start(self) -> None:
        """Start all three; another process may take a port between our looking and our binding, so try again then."""
        self._make_certificates()
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._start_once()
            except ProcessDied as error:
                self._end_processes()
                shutil.rmtree(self.run_dir / "etcd", ignore_errors=True)
                if PORT_TAKEN not in str(error) or attempt == START_ATTEMPTS:
                    raise
            except BaseException:
                self._end_processes()
                raise
            else:
                return

    def stop(self) -> None:
        """End exactly our own processes, newest first, and remove what they wrote."""
        self._end_processes()
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def restart_api_server(self) -> None:
        """Stop the API server and start it again on the same port; watches break, stored objects stay."""
        index = next(i for i, process in enumerate(self._processes) if process.name == "kube-apiserver")
        self._processes[index].stop()
        self._processes[index] = self._start_api_server()
        self._wait_ready(self._processes[index])

    def compact(self) -> None:
        """Have etcd forget all versions but the last, as the API server does every five minutes."""
        key = base64.b64encode(b"\0").decode()
        revision = self._etcd("range", {"key": key, "limit": "1", "keys_only": True})["header"]["revision"]
        self._etcd("compaction", {"revision": revision, "physical": True})

    def _etcd(self, call: str, body: dict[str, object]) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._etcd_port}/v3/kv/{call}"
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=20) as answer:
            return json.loads(answer.read())

    def server_certificate(self) -> tuple[Path, Path]:
        """A certificate for loopback, of the authority that every kubeconfig of this cluster trusts, and its key."""
        return self._server.certificate_path, self._server.key_path

    def process(self, name: str) -> Process:
        """One of our own, such as `etcd`: for a test that pauses it."""
        return next(process for process in self._processes if process.name == name)

    def _start_once(self) -> None:
        started = time.perf_counter()
        self._etcd_port, peer_port, self._port = free_ports(3)
        self._api = None
        pki.write_kubeconfig(self.kubeconfig, self.url, self.ca, pki.certificate_user(self._admin))
        etcd = self._start("etcd", self._etcd_command(peer_port))
        api_server = self._start_api_server()
        self._processes.append(api_server)
        self._wait_ready(etcd, api_server)
        self.timings["etcd and API server"] = time.perf_counter() - started
        started = time.perf_counter()
        self.apply_crds(self._crds)
        self.timings["CRDs"] = time.perf_counter() - started
        started = time.perf_counter()
        manager = self._start("kube-controller-manager", self._controller_manager_command())
        self._wait_for_controllers(manager)
        self.timings["controller-manager"] = time.perf_counter() - started

    def _start(self, name: str, command: Sequence[str | Path]) -> Process:
        process = Process(name, command, self.run_dir / f"{name}.log")
        self._processes.append(process)
        return process

    def _start_api_server(self) -> Process:
        return Process("kube-apiserver", self._api_server_command(), self.run_dir / "kube-apiserver.log")

    def _end_processes(self) -> None:
        while self._processes:
            self._processes.pop().stop()

    def _make_certificates(self) -> None:
        folder = self.run_dir / "pki"
        self._authority = pki.Authority(folder, "moorage-tests")
        self._front_proxy = pki.Authority(folder / "front-proxy", "moorage-tests-front-proxy")
        self._server = self._authority.server("apiserver", "kube-apiserver")
        self._front_proxy_client = self._front_proxy.client("client", "front-proxy-client")
        self._admin = self._authority.client("admin", "moorage-tests-admin", "system:masters")
        self._manager = self._authority.client("controller-manager", "system:kube-controller-manager")
        self._tokens = pki.service_account_key(folder)
        (self.run_dir / "audit-policy.json").write_text(json.dumps(audit_log.POLICY))

    def _etcd_command(self, peer_port: int) -> list[str | Path]:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{peer_port}"
        return [
            self._binaries.etcd,
            f"--data-dir={self.run_dir / 'etcd'}",
            "--unsafe-no-fsync",  # the data live as long as the tests
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        ]

    def _api_server_command(self) -> list[str | Path]:
        front_proxy = self._front_proxy.pair.certificate_path
        return [
            self._binaries.kube_apiserver,
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--secure-port={self._port}",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # a loopback address is not a valid endpoint of a Service
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={self.ca}",
            f"--tls-cert-file={self._server.certificate_path}",
            f"--tls-private-key-file={self._server.key_path}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-signing-key-file={self._tokens.private_path}",
            f"--service-account-key-file={self._tokens.public_path}",
            f"--requestheader-client-ca-file={front_proxy}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={self._front_proxy_client.certificate_path}",
            f"--proxy-client-key-file={self._front_proxy_client.key_path}",
            "--enable-aggregator-routing=true",
            f"--audit-policy-file={self.run_dir / 'audit-policy.json'}",
            f"--audit-log-path={self.audit_log_path}",
            "--audit-log-mode=blocking",  # a request is in the file before its client has the answer
            "--audit-log-maxsize=10000",  # never rotated under a reader
            "--profiling=false",
            "--v=1",
        ]

    def _controller_manager_command(self) -> list[str | Path]:
        kubeconfig = pki.write_kubeconfig(
            self.run_dir / "controller-manager.kubeconfig", self.url, self.ca, pki.certificate_user(self._manager)
        )
        return [
            self._binaries.kube_controller_manager,
            f"--kubeconfig={kubeconfig}",
            "--secure-port=0",  # nobody asks it anything, so it listens nowhere
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self._tokens.private_path}",
            f"--root-ca-file={self.ca}",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={POD_RANGE}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            # It would remove the pods that the kubelet's stand-in has taken to a node that does not exist, after 40 s.
            "--controllers=*,-pod-garbage-collector-controller",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=10s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
            "--horizontal-pod-autoscaler-downscale-stabilization=20s",
            "--v=1",
        ]

    def _wait_ready(self, *processes: Process) -> None:
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self._admin.certificate_path, self._admin.key_path)
        deadline = time.perf_counter() + READY_TIMEOUT_S
        while True:
            for process in processes:
                process.check()
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=5, context=context):
                    return
            except (urllib.error.URLError, OSError) as error:
                if time.perf_counter() > deadline:
                    raise TimeoutError(f"{self.url} not ready after {READY_TIMEOUT_S:g} s: {error}") from error
            time.sleep(0.1)

    def _wait_for_controllers(self, manager: Process) -> None:
        """The default ServiceAccount is made by a controller, so its being there shows that controllers run."""

        def made() -> bool:
            manager.check()
            return self.api.get("ServiceAccount", "default", "default") is not None

        eventually(made, timeout_s=READY_TIMEOUT_S)
