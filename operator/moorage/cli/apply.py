"""`moor apply FILE`: hand ModelDeployments to a cluster and, if asked, wait until they are ready.

What is applied is the file's own object, as `kubectl apply --server-side` would; the operator does the rest.
"""

import json
import time
from pathlib import Path
from typing import Any

import kubernetes
import urllib3
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from rich.console import Console

from moorage.api import ExitCode
from moorage.api.conditions import READY
from moorage.api.v1alpha1 import GROUP, PLURAL, VERSION
from moorage.cli.files import UserError, judged

FIELD_MANAGER = "moor"
POLL_S = 0.5
REQUEST_S = 30


def apply(file: Path, namespace: str | None, timeout_s: float | None, console: Console) -> ExitCode:
    """Apply every ModelDeployment of a file; with a timeout, wait for Ready and tell each change of the reason.

    Raises:
        UserError: the file is invalid, the cluster refuses it or does not answer, or the time is over.
    """
    wanted = [document for document, _ in judged(file)]
    api, default_namespace = _connect()
    try:
        for manifest in wanted:
            where = manifest["metadata"].get("namespace") or namespace or default_namespace
            name = manifest["metadata"]["name"]
            _apply_one(api, manifest, where)
            console.print(f"{name} applied in {where}", markup=False)
            if timeout_s is not None:
                _wait(api, where, name, timeout_s, console)
    except ApiException as error:
        raise UserError(f"{file}: {_words(error)}", _code(error)) from error
    except urllib3.exceptions.HTTPError as error:
        raise UserError(f"the cluster does not answer: {error}", ExitCode.UNAVAILABLE) from error
    return ExitCode.OK


def _connect() -> tuple[Any, str]:
    try:
        kubernetes.config.load_kube_config()
        _, context = kubernetes.config.list_kube_config_contexts()
        namespace = context["context"].get("namespace", "default")
    except (ConfigException, OSError) as error:
        raise UserError(f"no cluster: {error}; set KUBECONFIG", ExitCode.UNAVAILABLE) from error
    return kubernetes.client.CustomObjectsApi(), namespace


def _apply_one(api: Any, manifest: dict[str, Any], namespace: str) -> None:
    body = {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}
    api.patch_namespaced_custom_object(
        GROUP,
        VERSION,
        namespace,
        PLURAL,
        manifest["metadata"]["name"],
        body,
        field_manager=FIELD_MANAGER,
        field_validation="Strict",
        force=True,
        _content_type="application/apply-patch+yaml",
        _request_timeout=REQUEST_S,
    )


def _wait(api: Any, namespace: str, name: str, timeout_s: float, console: Console) -> None:
    told = ("", "")
    deadline = time.perf_counter() + timeout_s
    while time.perf_counter() < deadline:
        live = api.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name, _request_timeout=REQUEST_S)
        conditions = live.get("status", {}).get("conditions", [])
        ready = next((item for item in conditions if item["type"] == READY), None)
        if ready and ready.get("observedGeneration", 0) >= live["metadata"]["generation"]:
            if (ready["reason"], ready["message"]) != told:
                told = (ready["reason"], ready["message"])
                console.print(f"{name}: {ready['reason']}: {ready['message']}", markup=False)
            if ready["status"] == "True":
                console.print(f"{name}: {live['status'].get('url', '')}", markup=False)
                return
        time.sleep(POLL_S)
    why = f"{told[0]}: {told[1]}" if told[0] else "the operator has said nothing: is it running?"
    raise UserError(f"{name} was not ready within {timeout_s:g} s: {why}", ExitCode.UNAVAILABLE)


def _code(error: ApiException) -> ExitCode:
    return ExitCode.INVALID_INPUT if error.status in (400, 403, 404, 409, 422) else ExitCode.UNAVAILABLE


def _words(error: ApiException) -> str:
    """The API server's own sentence; the client's text has headers and the whole body."""
    if error.status == 404:
        return "the cluster has no ModelDeployment: apply crds/ first"
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, TypeError, KeyError):
        return f"{error.status} {error.reason}"
