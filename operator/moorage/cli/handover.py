"""From `kubectl apply` without --server-side to a server-side apply of ours. Called by `moor apply` and `moor diff`.

What kubectl has written so belongs to its field manager: an apply under any other name would leave for ever what a file no longer
has. So its fields become ours first, as `kubectl apply --server-side` does it with its own. kubectl notes what it applied in an
annotation, from which can be told what was removed since.
"""

import json
from typing import Any

from moorage.cli.kube import Body, Kube, KubeError

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL, FIELD_MANAGER = "kubectl-client-side-apply", "moor"
TRIES = 5


def apply(kube: Kube, path: str, document: Body, live: Body | None) -> None:
    """Make an object equal to a document, server-side.

    Args:
        kube: the cluster.
        path: of the object.
        document: all that is asked for.
        live: the object as it is; None if there is none.

    Raises:
        KubeError: the API server refuses it.
    """
    _hand_over(kube, path, live)
    applied = kube.apply(path, document, FIELD_MANAGER)
    if left := _there(removed_since_kubectl(live, document), applied):  # somebody else has written it as well
        kube.merge(path, left, FIELD_MANAGER)


def _hand_over(kube: Kube, path: str, live: Body | None) -> None:
    for last in (*[False] * (TRIES - 1), True):
        managers = handed_over(live["metadata"].get("managedFields", [])) if live is not None else None
        if live is None or managers is None:
            return
        version = live["metadata"]["resourceVersion"]
        try:
            kube.merge(path, {"metadata": {"managedFields": managers, "resourceVersion": version}}, FIELD_MANAGER)
            return
        except KubeError as error:  # 409: the operator has written a status since
            if error.status != 409 or last:
                raise
        live = kube.get(path)


def planned(kube: Kube, path: str, document: Body, live: Body | None) -> Body:
    """What `apply` would make of it, by dry run.

    Raises:
        KubeError: the API server refuses it.
    """
    if removed := removed_since_kubectl(live, document):
        return kube.merge(path, merged(document, removed), FIELD_MANAGER, dry_run=True)
    return kube.apply(path, document, FIELD_MANAGER, dry_run=True)


def handed_over(managers: list[Body]) -> list[Body] | None:
    """Managed fields in which kubectl's are ours; None if it has none."""
    theirs = [each for each in managers if _is(each, KUBECTL, "Update")]
    if not theirs:
        return None
    ours = [each for each in managers if _is(each, FIELD_MANAGER, "Apply")]
    first, *more = [*ours, *theirs]
    fields = first.get("fieldsV1", {})
    for each in more:
        fields = merged(fields, each.get("fieldsV1", {}))
    one = {**first, "manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}
    return [one, *(each for each in managers if each not in theirs and each not in ours)]


def _is(entry: Body, manager: str, operation: str) -> bool:
    return bool(
        entry.get("manager") == manager and entry.get("operation") == operation and not entry.get("subresource")
    )


def _there(removed: Body, live: Any) -> Body:
    """The part of a merge patch that removes something."""
    found: Body = {}
    for key, value in removed.items():
        if isinstance(live, dict) and key in live:
            if value is None:
                found[key] = None
            elif below := _there(value, live[key]):
                found[key] = below
    return found


def removed_since_kubectl(live: Body | None, document: Body) -> Body:
    """A merge patch (RFC 7386) of what kubectl applied last and the document does not have; empty if there is nothing, and where
    kubectl's fields are another's by now: its annotation stays behind, whoever took them over."""
    metadata = (live or {}).get("metadata", {})
    if not any(_is(each, KUBECTL, "Update") for each in metadata.get("managedFields") or ()):
        return {}
    noted = (metadata.get("annotations") or {}).get(LAST_APPLIED)
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
