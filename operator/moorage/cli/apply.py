"""`moor apply FILE`: hand ModelDeployments to a cluster and, if asked, wait until they are ready.

What is applied is the file's own object, as `kubectl apply --server-side` would, and what `kubectl apply` has written before and
the file no longer has goes; the operator does the rest.
"""

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from moorage.api import ExitCode
from moorage.api.conditions import READY
from moorage.cli import handover
from moorage.cli.errors import UserError
from moorage.cli.files import judged
from moorage.cli.kube import Kube, KubeError, model_deployment_path, told

POLL_S = 0.5


def apply(file: Path, namespace: str | None, timeout_s: float | None, console: Console) -> ExitCode:
    """Apply every ModelDeployment of a file; with a timeout, wait for Ready and tell each change of the reason.

    Raises:
        UserError: the file is invalid, the cluster refuses it or does not answer, or the time is over.
    """
    wanted = [document for document, _ in judged(file)]
    kube = Kube()
    with told(str(file)):
        for manifest in wanted:
            where = manifest["metadata"].get("namespace") or namespace or kube.namespace
            name = manifest["metadata"]["name"]
            _apply_one(kube, manifest, where)
            console.print(f"{name} applied in {where}", markup=False)
            if timeout_s is not None:
                _wait(kube, where, name, timeout_s, console)
    return ExitCode.OK


def _apply_one(kube: Kube, manifest: dict[str, Any], namespace: str) -> None:
    body = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
    path = model_deployment_path(namespace, manifest["metadata"]["name"])
    handover.apply(kube, path, body, _live(kube, namespace, manifest["metadata"]["name"]))


def _live(kube: Kube, namespace: str, name: str) -> dict[str, Any] | None:
    """The object as it is; None also for who may write it and not read it."""
    try:
        return kube.model_deployment(namespace, name)
    except KubeError as error:
        if error.status == 403:
            return None
        raise


def _wait(kube: Kube, namespace: str, name: str, timeout_s: float, console: Console) -> None:
    said = ("", "")
    deadline = time.perf_counter() + timeout_s
    while time.perf_counter() < deadline:
        live = kube.model_deployment(namespace, name)
        if live is None:
            raise UserError(f"{name} was deleted while it was waited for", ExitCode.UNAVAILABLE)
        conditions = live.get("status", {}).get("conditions", [])
        ready = next((item for item in conditions if item["type"] == READY), None)
        if ready and ready.get("observedGeneration", 0) >= live["metadata"]["generation"]:
            if (ready["reason"], ready["message"]) != said:
                said = (ready["reason"], ready["message"])
                console.print(f"{name}: {ready['reason']}: {ready['message']}", markup=False)
            if ready["status"] == "True":
                console.print(f"{name}: {live['status'].get('url', '')}", markup=False)
                return
        time.sleep(POLL_S)
    why = f"{said[0]}: {said[1]}" if said[0] else "the operator has said nothing: is it running?"
    raise UserError(f"{name} was not ready within {timeout_s:g} s: {why}", ExitCode.UNAVAILABLE)
