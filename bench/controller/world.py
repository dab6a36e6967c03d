"""A real etcd, API server and controller-manager on this machine, our controller beside them, and what is asked of them."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil
from tests.contract.controller_process import USER, ControllerProcess
from tests.contract.spec_table import document
from tests.control_plane import binaries
from tests.control_plane.client import Api, condition
from tests.control_plane.fixtures import crd_folders
from tests.control_plane.plane import ControlPlane

APPLIERS: Final = 8
"""Threads that apply; one waits for the API server's answer most of the time."""
NAMESPACE: Final = "bench"
POLL_S: Final = 0.25
BROKEN_PREFIX: Final = "broken"
METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
T = TypeVar("T")


@contextmanager
def control_plane(run_dir: Path) -> Iterator[ControlPlane]:
    """Started with our CRD and KServe's, and ended with everything that it wrote."""
    plane = ControlPlane(run_dir / "plane", binaries.find(), crds=crd_folders(run_dir))
    plane.start()
    try:
        plane.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield plane
    finally:
        plane.stop()


class World:
    """One control plane with one controller.

    Nothing plays KServe: a status of InferenceServices would be somebody else's work. So no model becomes ready here, and
    the controller's work is what it does before that.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.controller = ControllerProcess(plane, plane.run_dir / "controller.log")
        self._clients = [Api(plane.kubeconfig) for _ in range(APPLIERS)]

    def apply_all(self, bodies: list[dict[str, Any]]) -> None:
        """All of them, by several threads at once."""
        self._shared(bodies, Api.apply)

    def delete_all(self, names: list[str]) -> None:
        """ModelDeployments, by several threads at once."""
        self._shared(names, lambda api, name: api.delete("ModelDeployment", NAMESPACE, name))

    def _shared(self, items: list[T], act: Callable[[Api, T], object]) -> None:
        def share(number: int) -> None:
            for item in items[number::APPLIERS]:
                act(self._clients[number], item)

        with ThreadPoolExecutor(APPLIERS) as pool:
            list(pool.map(share, range(APPLIERS)))

    def rss_mb(self) -> float:
        """Memory of the controller, 10^6 bytes."""
        return psutil.Process(self.controller.pid).memory_info().rss / 1e6

    def cpu_s(self) -> dict[str, float]:
        """Processor time so far: the controller's, the API server's and its store's, and ours, who ask."""
        plane = {"kube-apiserver": "api_server", "etcd": "etcd", "kube-controller-manager": "go_controllers"}
        pids = {ours: self.plane.process(theirs).pid for theirs, ours in plane.items()}
        times = {
            name: psutil.Process(pid).cpu_times()
            for name, pid in (*pids.items(), ("controller", self.controller.pid), ("bench", None))
        }
        return {name: found.user + found.system for name, found in times.items()}

    def count(self, kind: str) -> int:
        """How many there are, asked in the way that costs the API server least."""
        path = self.plane.api.path(kind, NAMESPACE)
        listed = self.plane.api.request("GET", path, accept=METADATA, resourceVersion="0")
        return len(listed["items"] or ())

    def max_replicas(self, name: str) -> int | None:
        """That of an InferenceService; None if there is none, or it has none."""
        found = self.plane.api.get("InferenceService", NAMESPACE, name)
        return found["spec"]["predictor"].get("maxReplicas", 0) if found else None

    def writes(self, since: int) -> int:
        """How often the controller has written, but for its lease."""
        return len(self.plane.audit.writes(since=since, user=USER))

    def reconciled(self) -> float:
        """How many reconciliations this controller has ended."""
        lines = self.controller.get("/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("moorage_reconciles_total"))

    def has_judged(self, many: int) -> bool:
        """Whether the status of so many ModelDeployments is that of their generation."""
        return sum(map(_judged, self.plane.api.list("ModelDeployment", NAMESPACE))) >= many

    def broken(self) -> int:
        """How many could not be made."""
        bodies = self.plane.api.list("ModelDeployment", NAMESPACE)
        return len([body for body in bodies if condition(body, "Accepted").get("reason") == "Conflict"])

    def restart(self) -> None:
        """In order, as a rollout does."""
        self.controller.stop()
        self.controller.start()

    def pause(self) -> None:
        """As a node that stands still does."""
        os.kill(self.controller.pid, signal.SIGSTOP)


def _judged(body: dict[str, Any]) -> bool:
    return condition(body, "Accepted").get("observedGeneration") == body["metadata"]["generation"]


def until(check: Callable[[], bool], timeout_s: float = 900.0) -> float:
    """Seconds until it is so."""
    started = time.perf_counter()
    while not check():
        if time.perf_counter() - started > timeout_s:
            raise TimeoutError(f"not so after {timeout_s:g} s")
        time.sleep(POLL_S)
    return time.perf_counter() - started


def model_deployment(name: str, **spec: Any) -> dict[str, Any]:
    """One of many."""
    made = document(name, **spec)
    made["metadata"]["namespace"] = NAMESPACE
    return made


def broken(name: str) -> list[dict[str, Any]]:
    """One that cannot be made, since somebody else has a ServiceAccount of its predictor's name; that comes first."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": f"{name}-predictor", "namespace": NAMESPACE},
    }
    return [account, model_deployment(name)]


def deployment(name: str) -> dict[str, Any]:
    """A Deployment without pods: of it the controller-manager makes a ReplicaSet, in Go."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }
