"""What `kubectl apply` without --server-side has written before, and a file no longer has. Called by `moor apply` and `moor diff`.

Such fields belong to kubectl's field manager: a server-side apply under any other name would leave them for ever. kubectl
notes what it applied in an annotation, from which what was removed since can be told.
"""

import json
from typing import Any

from moorage.cli.kube import Body, Kube

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
FIELD_MANAGER = "moor"


def apply(kube: Kube, path: str, document: Body, live: Body | None, *, dry_run: bool = False) -> Body:
    """Make an object equal to a document, server-side; returns it as it is then, or (by dry run) would be.

    Args:
        kube: the cluster.
        path: of the object.
        document: all that is asked for.
        live: the object as it is; None if there is none.
        dry_run: whether nothing is to be stored.

    Raises:
        KubeError: the API server refuses it.
    """
    removed = removed_since_kubectl(live, document)
    if removed:
        annotations = {**document["metadata"].get("annotations", {}), LAST_APPLIED: None}
        whole = merged({**document, "metadata": {**document["metadata"], "annotations": annotations}}, removed)
        after = kube.merge(path, whole, FIELD_MANAGER, dry_run=dry_run)
        if dry_run:
            return after
    return kube.apply(path, document, FIELD_MANAGER, dry_run=dry_run)


def removed_since_kubectl(live: Body | None, document: Body) -> Body:
    """A merge patch (RFC 7386) of what kubectl applied last and the document does not have; empty if there is nothing."""
    noted = ((live or {}).get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        before = json.loads(noted) if noted else {}
    except ValueError:  # somebody wrote into it
        return {}
    return _nulls(_content(before), _content(document)) if isinstance(before, dict) else {}


def merged(body: Any, patch: Any) -> Any:
    """One merge patch that has what both have; `patch` wins."""
    if not isinstance(body, dict) or not isinstance(patch, dict):
        return patch
    return {**body, **{key: merged(body.get(key), value) for key, value in patch.items()}}


def _content(body: Body) -> Body:
    """What people write: no name, and nothing of the server's."""
    metadata = body.get("metadata") or {}
    kept = {key: metadata.get(key) or {} for key in ("labels", "annotations")}
    return {"spec": body.get("spec") or {}, "metadata": kept}


def _nulls(before: Body, now: Body) -> Body:
    found: Body = {}
    for key, value in before.items():
        if key not in now:
            found[key] = None
        elif isinstance(value, dict) and isinstance(now[key], dict) and (below := _nulls(value, now[key])):
            found[key] = below
    return found
