"""What would become of one ModelDeployment and its objects. Asks the API server by dry run. Called by `command.py`.

ModelDeployment, as it would be stored -> refusal() -> render() -> each object, as it would be stored; and what would be pruned
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from moorage.api import ModelDeployment
from moorage.api.conditions import INVALID_SPEC
from moorage.api.messages import causes
from moorage.cli import handover
from moorage.cli.kube import Body, Kube, KubeError, model_deployment_path
from moorage.controller.owners import is_owned, stranger
from moorage.render import (
    CHILD_KINDS,
    CHILD_PLURALS,
    OWNER_LABEL,
    POD_HASH,
    Capabilities,
    Refusal,
    RenderSettings,
    refusal,
    render,
)

OPERATOR = "moorage"
"""The operator's field manager: a dry run under its name shows what its apply would do."""


@dataclass(frozen=True)
class Change:
    """One object before and after; None where there is none."""

    kind: str
    name: str
    before: Body | None
    after: Body | None
    estimated: bool = False
    """Whether `after` was put together here, because you may not ask the API server."""


@dataclass(frozen=True)
class Plan:
    """All that would change for one ModelDeployment."""

    namespace: str
    name: str
    changes: tuple[Change, ...]
    refused: Refusal | None = None
    """Why the operator would not act; then it would leave what serves alone."""
    replaced_pods: int = 0
    """Pods that would be replaced by new ones, one after the other."""


def plan(kube: Kube, namespace: str, name: str, document: Body | None, settings: RenderSettings) -> Plan:
    """What would change.

    Args:
        kube: the cluster.
        namespace: of the ModelDeployment.
        name: of the ModelDeployment.
        document: it as edited, or None for as it is: then only the operator's version can make a difference.
        settings: what the operator renders with.

    Raises:
        KubeError: the API server refuses the edit, or reading.
    """
    path = model_deployment_path(namespace, name)
    live = kube.model_deployment(namespace, name)
    after = live
    if document is not None:
        body = {**document, "metadata": {**document["metadata"], "namespace": namespace}}
        after = handover.planned(kube, path, body, live)
    if after is None:
        raise KubeError(404, f"expected a ModelDeployment {name} in the namespace {namespace}, found none")
    changes = [Change("ModelDeployment", name, live, after)] if document is not None else []
    if live is None:
        after = {
            **after,
            "metadata": {**after["metadata"], "uid": ""},
        }  # made up by the dry run: nothing can belong to it
    try:
        deployment = ModelDeployment.model_validate(after)
    except ValidationError as error:
        refused: Refusal | None = Refusal(INVALID_SPEC, "; ".join(str(cause) for cause in causes(error)))
    else:
        refused = refusal(deployment)
    if refused is not None:
        return Plan(namespace, name, tuple(changes), refused)
    found = _live_children(kube, namespace, name) if live is not None else {}
    service = found.get(("InferenceService", name))
    word = service.get("status", {}).get("deploymentMode") if service else None
    manifests = render(deployment, settings, Capabilities().keeping(word))
    uid, own = after["metadata"]["uid"], tuple(changes)
    for manifest in manifests:
        there = found.get((manifest["kind"], manifest["metadata"]["name"])) or _unlabelled(kube, manifest)
        if there is not None and (refused := stranger(there, uid)):
            return Plan(namespace, name, own, refused)
        changes.append(_child(kube, manifest, there))
    wanted = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    for (kind, child), body in found.items():
        if (kind, child) not in wanted and is_owned(body, uid):
            changes.append(Change(kind, child, body, None))
    new_hash = pod_hash(manifests[-1])
    replaced = _pods(kube, namespace, name) if service is not None and pod_hash(service) != new_hash else 0
    return Plan(namespace, name, tuple(changes), None, replaced)


def pod_hash(service: Body) -> str | None:
    """Our annotation on an InferenceService: where it changes, KServe replaces the pods."""
    found: str | None = service["spec"]["predictor"].get("annotations", {}).get(POD_HASH)
    return found


def overlaid(live: Any, wanted: Any) -> Any:
    """Roughly what an apply makes of `live`: our fields over its own, lists of named items item by item."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        return {**live, **{key: overlaid(live.get(key), value) for key, value in wanted.items()}}
    if isinstance(live, list) and isinstance(wanted, list) and all(isinstance(item, dict) for item in [*live, *wanted]):
        known = {item["name"]: item for item in live if "name" in item}
        return [overlaid(known.get(item.get("name")), item) for item in wanted]
    return wanted


def _child(kube: Kube, manifest: Body, live: Body | None) -> Change:
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    try:
        after = kube.apply(
            _path(manifest["apiVersion"], kind, manifest["metadata"]["namespace"], name),
            manifest,
            OPERATOR,
            dry_run=True,
        )
    except KubeError as error:
        if error.status not in (403, 404):
            raise KubeError(error.status, f"{kind} {name}: {error}") from error
        return Change(kind, name, live, overlaid(live, manifest), estimated=True)
    return Change(kind, name, live, after)


def _live_children(kube: Kube, namespace: str, name: str) -> dict[tuple[str, str], Body]:
    found = {}
    for api_version, kind in CHILD_KINDS:
        for body in _items(kube, _path(api_version, kind, namespace), f"{OWNER_LABEL}={name}"):
            found[kind, body["metadata"]["name"]] = {"apiVersion": api_version, "kind": kind, **body}
    return found


def _unlabelled(kube: Kube, manifest: Body) -> Body | None:
    """What has a child's name without being labelled as one: somebody else's, or ours without its label."""
    metadata = manifest["metadata"]
    try:
        return kube.get(_path(manifest["apiVersion"], manifest["kind"], metadata["namespace"], metadata["name"]))
    except KubeError as error:
        if error.status != 403:  # who may list a kind may perhaps not get one; of the rest tells the apply
            raise
        return None


def _items(kube: Kube, path: str, selector: str) -> Iterator[Body]:
    try:
        yield from kube.items(path, labelSelector=selector)
    except KubeError as error:
        if error.status != 404:  # the cluster does not have the kind
            raise


def _pods(kube: Kube, namespace: str, name: str) -> int:
    pods = kube.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"{OWNER_LABEL}={name}")
    return len([pod for pod in pods if "deletionTimestamp" not in pod["metadata"]])


def _path(api_version: str, kind: str, namespace: str, name: str = "") -> str:
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    return f"{root}/namespaces/{namespace}/{CHILD_PLURALS[kind]}" + (f"/{name}" if name else "")
