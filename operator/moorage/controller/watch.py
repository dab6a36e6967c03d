"""List and watch of one kind of children, chosen by our label on the server's side, into the store.

kopf watches the ModelDeployments; it cannot ask for labels, and a controller that held every pod of a cluster would not be
small. Endless: every failure is followed by a jittered wait and a fresh list.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from moorage.controller.cluster import ApiError, Body, Cluster, Resource
from moorage.controller.store import Key, Store, owner_of
from moorage.render import OWNER_LABEL

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
BETWEEN_STREAMS_S = 0.1
"""The server ends a stream after minutes; one that ends each at once must not keep us busy."""


class Watch:
    """Keeps the store's view of one kind, and tells whom a change concerns."""

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        store: Store,
        notify: Callable[[Key], None],
        on_list: Callable[[], None] = lambda: None,
        namespace: str | None = None,
    ) -> None:
        self._cluster, self._resource, self._namespace = cluster, resource, namespace
        self._store, self._notify, self._on_list = store, notify, on_list
        self.synced = asyncio.Event()
        """Set once the first answer is in; a kind that the cluster does not have counts as an empty list."""
        self.available = False
        """Whether the cluster has the kind."""

    async def run(self) -> None:
        """Until cancelled."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                version = await self._list()
                wait_s = FIRST_WAIT_S
                while True:
                    version = await self._follow(version)
                    await asyncio.sleep(BETWEEN_STREAMS_S)
            except ApiError as error:
                if error.code == 404:
                    self._missing()
                elif error.code != 410:
                    log.warning(
                        "watch of %s interrupted",
                        self._resource.plural,
                        extra={"reason": error.reason, "error": error.message},
                    )
            except Exception:
                log.exception("watch of %s failed", self._resource.plural)
            await asyncio.sleep(wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
            wait_s = min(LONGEST_WAIT_S, wait_s * 2)

    async def _list(self) -> str:
        answer = await self._cluster.list(self._resource, self._namespace, OWNER_LABEL)
        items = answer.get("items", [])
        for item in items:
            item.setdefault("apiVersion", self._resource.api_version)
            item.setdefault("kind", self._resource.kind)
        gone = self._store.replace(self._resource.kind, items)
        came = not self.available
        self.available = True
        self.synced.set()
        for body in [*gone, *items]:
            self._tell(body)
        if came:
            log.info("watching %s", self._resource.plural)
        self._on_list()
        version: str = answer["metadata"]["resourceVersion"]
        return version

    async def _follow(self, version: str) -> str:
        async for event in self._cluster.watch(self._resource, self._namespace, OWNER_LABEL, version):
            body: Body = event["object"]
            version = body["metadata"]["resourceVersion"]
            if event["type"] == "BOOKMARK":
                continue
            if event["type"] == "DELETED":
                self._store.remove(self._resource.kind, body)
                self._tell(body)
            elif self._store.put(self._resource.kind, body):
                self._tell(body)
        return version

    def _missing(self) -> None:
        if self.available or not self.synced.is_set():
            log.warning("the cluster has no %s; waiting for it", self._resource.plural, extra={"reason": "KindMissing"})
        self.available = False
        self.synced.set()

    def _tell(self, body: Body) -> None:
        if owner := owner_of(body):
            self._notify(owner)
