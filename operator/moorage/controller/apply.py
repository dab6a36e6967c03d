"""The only place that writes children: applies what differs, prunes what is no longer rendered, never touches a stranger's."""

import asyncio
import logging
import time

from moorage.api.conditions import APPLY_FAILED, KSERVE_UNAVAILABLE, REPLACING, Reason
from moorage.controller.cluster import ApiError, Body, Cluster
from moorage.controller.diff import admitted, drift
from moorage.controller.observe import CHILDREN, Observed
from moorage.controller.owners import is_owned, stranger
from moorage.controller.store import Store, key_of, owner_of
from moorage.render import OWNER_LABEL

log = logging.getLogger(__name__)

_PASSING = frozenset({0, 401, 408, 409, 429, 502, 503, 504})
"""Answers that tell of this moment, and nothing of the object: no status is written for them."""
SILENT_S = 2.0
"""One that is away lets go of a connection at once."""
_ETCD = "etcdserver: "
"""What a 500 begins with while etcd elects a leader, for instance."""
_DENIED = ("denied the request", "denied request")
"""By a webhook or by a policy, which choose the code of their answer: of the object, whatever that is."""


class ApplyError(Exception):
    """An object could not be brought to what is asked for. `retry_after_s` is the server's own wish, if it has one."""

    def __init__(self, reason: Reason, message: str, retry_after_s: float = 0.0) -> None:
        self.reason, self.message, self.retry_after_s = reason, message, retry_after_s
        super().__init__(message)


class NamespaceGoingError(Exception):
    """The whole namespace is being deleted, or was: nothing can be made in it, and nothing need be."""


async def apply(cluster: Cluster, store: Store, owner_uid: str, manifests: list[Body], observed: Observed) -> int:
    """Make the children equal to `manifests`. Returns the number of writes.

    The InferenceService comes last and alone, since KServe acts on it at once and needs the others then.

    Raises:
        ApplyError: the first failure; what came before it stands.
        NamespaceGoingError: there is nothing to do any more.
        ApiError: the API server is away or busy, or the object changed at that moment; to be tried again.
    """
    *first, last = manifests
    results = await asyncio.gather(
        *(_apply_one(cluster, store, owner_uid, manifest, observed) for manifest in first),
        return_exceptions=True,  # so that all have ended before the key is given to another worker
    )
    writes = 0
    for result in results:
        if isinstance(result, BaseException):
            raise result
        writes += result
    writes += await _apply_one(cluster, store, owner_uid, last, observed)
    writes += await _prune(cluster, store, owner_uid, manifests, observed)
    store.all_settled(owner_of(last))
    return writes


async def _apply_one(cluster: Cluster, store: Store, owner_uid: str, manifest: Body, observed: Observed) -> int:
    kind, name, started = manifest["kind"], manifest["metadata"]["name"], time.monotonic()
    live = next((body for body in observed.children[kind] if body["metadata"]["name"] == name), None)
    try:
        applied = await _made(cluster, manifest) if live is None else None
        if applied is None:
            live = live or await _present(cluster, manifest)
            _must_be_ours({**live, "kind": kind}, owner_uid)
            changed, entry = drift(_attainable(store, manifest, live), live), (kind, key_of(live))
            if changed is None:
                store.contests.stands(entry, manifest)
                store.settled(manifest)
                store.put(kind, live)
                return 0
            if store.contests.holds_back(entry, manifest, live, changed):
                return 0
            log.info("restoring", extra=_about(live, kind, reason="Drift", field=changed))
            applied = await cluster.apply(CHILDREN[kind], manifest, uid=live["metadata"]["uid"])
            store.contests.restored(entry, manifest)
        else:
            store.contests.forget((kind, key_of(applied)))
    except ApiError as error:
        if error.code == 409 and live is not None:  # perhaps another by now, of which no watch has told: ask next time
            store.forget(kind, key_of(live))
        if _gave_up(error, time.monotonic() - started) and store.gave_up(manifest) > 1:  # once may be an accident
            raise ApplyError(
                APPLY_FAILED, f"{kind} {name}: {error.message}: an admission webhook that hangs, or a slow etcd"
            ) from error
        if _passes(error):
            raise
        store.settled(manifest)  # refused, and in time
        raise _translated(error, kind, name) from error
    store.settled(manifest)
    store.put(kind, applied)
    _note_overruled(store, manifest, applied)
    return 1


def _passes(error: ApiError) -> bool:
    passing = error.code in _PASSING or (error.code == 500 and error.message.startswith(_ETCD))
    return passing and not any(words in error.message for words in _DENIED)


async def _made(cluster: Cluster, manifest: Body) -> Body | None:
    """What was made, or None if something of that name is there, of which no watch has told: somebody else's, or no label."""
    try:
        return await cluster.apply(CHILDREN[manifest["kind"]], manifest)
    except ApiError as error:
        if error.code == 409 and _passes(error):
            return None
        raise


async def _present(cluster: Cluster, manifest: Body) -> Body:
    metadata = manifest["metadata"]
    found = await cluster.get(CHILDREN[manifest["kind"]], metadata["namespace"], metadata["name"])
    if found is None:
        raise ApiError(409, "Conflict", f"{manifest['kind']} {metadata['name']} was there, and is gone by now")
    return found


def _about(child: Body, kind: str, **more: str) -> dict[str, str]:
    metadata = child["metadata"]
    owner = metadata.get("labels", {}).get(OWNER_LABEL, "")
    return {"namespace": metadata["namespace"], "object": owner, "kind": kind, "child": metadata["name"], **more}


def _gave_up(error: ApiError, took_s: float) -> bool:
    """Whether the API server took the write and had no answer in time: it says so, or lets the connection go without a word."""
    silent = error.reason == "Unreachable" and took_s >= SILENT_S
    return silent or (error.code == 504 and error.reason == "Timeout")


def _attainable(store: Store, manifest: Body, live: Body) -> Body:
    """The manifest, or what a webhook made of it: we do not argue with it at each of its answers."""
    applied, left = store.overruled.get((manifest["kind"], key_of(live)), (None, manifest))
    return left if applied == manifest else manifest


def _note_overruled(store: Store, manifest: Body, applied: Body) -> None:
    entry = (manifest["kind"], key_of(applied))
    field = drift(manifest, applied)
    if field is None:
        store.overruled.pop(entry, None)
    else:
        store.overruled[entry] = (manifest, admitted(manifest, applied))
        log.warning("admission changed our field", extra=_about(applied, entry[0], reason="Overruled", field=field))


def _must_be_ours(live: Body, owner_uid: str) -> None:
    if refused := stranger(live, owner_uid):
        raise ApplyError(refused.reason, refused.message, 1.0 if refused.reason is REPLACING else 0.0)


async def _prune(cluster: Cluster, store: Store, owner_uid: str, manifests: list[Body], observed: Observed) -> int:
    wanted = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    writes = 0
    for kind, bodies in observed.children.items():
        for body in bodies:
            metadata = body["metadata"]
            if (kind, metadata["name"]) in wanted or not is_owned(body, owner_uid) or "deletionTimestamp" in metadata:
                continue
            log.info("pruning", extra=_about(body, kind, reason="NotAskedFor"))
            try:
                await cluster.delete(CHILDREN[kind], metadata["namespace"], metadata["name"], metadata["uid"])
            except ApiError as error:
                if _passes(error):
                    raise
                raise _translated(error, kind, metadata["name"]) from error
            store.remove(kind, body)
            writes += 1
    return writes


def _translated(error: ApiError, kind: str, name: str) -> ApplyError | NamespaceGoingError:
    if error.is_of_namespace:
        return NamespaceGoingError()
    # A 404 that is not a Status object: the path itself is unknown, and so is the kind.
    if error.code == 404 and error.reason != "NotFound":
        return ApplyError(KSERVE_UNAVAILABLE, f"the cluster has no {kind}: install KServe (0.16 or newer)", 5.0)
    return ApplyError(APPLY_FAILED, f"{kind} {name}: {error.message}", error.retry_after_s or 0.0)
