"""Counts the ModelDeployments once a minute and compares: has kopf told of every change? Called by intake.py.

A list of metadata from the API server's watch cache: the names and versions of a thousand are under a megabyte. What
differs is given a moment, since an event may be under way; what differs then was missed, and is told from here.

Of several namespaces one that answers 403 is not ours now: what was known there is forgotten, and the rest counted.
"""

import asyncio
import logging
from collections.abc import Sequence

from moorage.controller.cluster import ApiError, Cluster
from moorage.controller.handlers import Told
from moorage.controller.observe import MODEL_DEPLOYMENT
from moorage.controller.store import Key, Store, key_of, version_of

log = logging.getLogger(__name__)

UNDER_WAY_S = 5.0


class Recount:
    """Compares the store with the cluster.

    Args:
        namespaces: those that are watched; none stands for all.
    """

    def __init__(self, cluster: Cluster, store: Store, told: Told, namespaces: Sequence[str]) -> None:
        self._cluster, self._store, self._told = cluster, store, told
        self._namespaces = tuple(namespaces)
        self.readable = self._namespaces
        """Those that could be read last; none stands for all."""

    async def look(self) -> tuple[str, ...]:
        """The namespaces that may be read now; none stands for all.

        Raises:
            ApiError: the API server gave no answer, or refuses all of them.
        """
        await self._listed()
        return self.readable

    async def missed(self) -> int:
        """How many changes nobody had told of; they have been told when it returns.

        Raises:
            ApiError: the API server gave no answer.
        """
        suspects = await self._differing()
        if not suspects:
            return 0
        await asyncio.sleep(UNDER_WAY_S)
        found = 0
        for key, version in suspects.items():
            known = self._store.get(MODEL_DEPLOYMENT.kind, key)
            if known is not None and version_of(known) >= version > 0:
                continue
            if known is None and version == 0:
                continue
            found += await self._tell(key)
        if found:
            log.warning("changes had been missed", extra={"reason": "WatchMissed", "changes": found})
        return found

    async def _differing(self) -> dict[Key, int]:
        """By key, the version that nobody told of; 0 for what is known and not listed."""
        listed, at = await self._listed()
        differing = {}
        for key in self._store.keys(MODEL_DEPLOYMENT.kind):
            known = self._store.get(MODEL_DEPLOYMENT.kind, key)
            if key not in listed and known is not None and version_of(known) <= at:
                differing[key] = 0
        for key, version in listed.items():
            known = self._store.get(MODEL_DEPLOYMENT.kind, key)
            if known is None or version_of(known) < version:
                differing[key] = version
        return differing

    async def _listed(self) -> tuple[dict[Key, int], int]:
        """Every version by key, and as of which version of the cluster."""
        listed: dict[Key, int] = {}
        versions = []
        refused: list[str] = []
        error: ApiError | None = None
        for namespace in self._namespaces or (None,):
            try:
                answer = await self._cluster.list(MODEL_DEPLOYMENT, namespace, metadata_only=True)
            except ApiError as failed:
                if failed.code != 403 or namespace is None:
                    raise
                refused.append(namespace)
                error = failed
                continue
            listed |= {key_of(body): version_of(body) for body in answer["items"]}
            versions.append(int(answer["metadata"]["resourceVersion"]))
        self._forget(refused)
        if error and not self.readable:
            raise error
        return listed, min(versions, default=0)  # what came to one namespace after its list is not missing from it

    def _forget(self, refused: Sequence[str]) -> None:
        readable = tuple(namespace for namespace in self._namespaces if namespace not in refused)
        if readable != self.readable:
            log.warning(
                "the namespaces that may be read have changed", extra={"readable": readable, "refused": refused}
            )
        self.readable = readable
        for key in self._store.keys(MODEL_DEPLOYMENT.kind) if refused else ():
            if key.namespace in refused:  # not known to be gone: it may come back as it is
                self._store.forget(MODEL_DEPLOYMENT.kind, key)

    async def _tell(self, key: Key) -> int:
        known = self._store.get(MODEL_DEPLOYMENT.kind, key)
        live = await self._cluster.get(MODEL_DEPLOYMENT, key.namespace, key.name)
        if known is not None and (live is None or live["metadata"]["uid"] != known["metadata"]["uid"]):
            self._told.gone(known)
        if live is not None:
            self._told.seen(live)
        return 1 if known is not None or live is not None else 0
