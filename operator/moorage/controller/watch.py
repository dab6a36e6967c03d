"""List and watch of one kind of children, chosen by our label on the server's side, into the store.

kopf watches the ModelDeployments; it cannot ask for labels, and a controller that held every pod of a cluster would not be
small. Endless: every failure is followed by a jittered wait and a fresh list.

A 403 in a namespace of its own means that this namespace is not ours now (it is gone, or its Role is): that is asked again
slowly, and holds up nobody else.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable

from moorage.controller.cluster import ApiError, Body, Cluster, Resource
from moorage.controller.store import Key, Store, key_of, owner_of, version_of
from moorage.render import OWNER_LABEL

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
LONGEST_REFUSED_WAIT_S = 60.0
BETWEEN_STREAMS_S = 0.1
STEADY_S = 5.0
"""A watch that has worked for so long begins its waits anew; one that is refused after each list does not."""
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
        """Set once the first answer is in; that the cluster does not have the kind, or that the namespace is not ours, is one."""
        self.available = False
        """Whether the cluster has the kind."""
        self.refused = False
        """Whether its one namespace is not ours now."""
        self._heard_at = time.monotonic()
        self._interrupted = False

    @property
    def namespace(self) -> str | None:
        """The one that is watched; None stands for all."""
        return self._namespace

    @property
    def plural(self) -> str:
        """The kind, as the API server's paths have it."""
        return self._resource.plural

    def silent_s(self) -> float:
        """Seconds since the server last said anything: an event, a bookmark, that the stream ends, or that it does not know the kind."""
        return time.monotonic() - self._heard_at

    async def run(self) -> None:
        """Until cancelled."""
        wait_s = FIRST_WAIT_S
        while True:
            at_least_s, listed_at = 0.0, math.inf
            try:
                version = await self._list()
                listed_at = self._heard_at
                while True:
                    version = await self._follow(version)
                    await asyncio.sleep(BETWEEN_STREAMS_S)
            except ApiError as error:
                at_least_s = error.retry_after_s or 0.0
                if error.code == 404:
                    self._missing()
                elif error.code == 403 and self._namespace is not None:
                    self._not_ours(error)
                elif error.code != 410:
                    words = {"reason": error.reason, "error": error.message}
                    level = logging.DEBUG if self._interrupted else logging.WARNING  # said once, not at each try
                    log.log(level, "watch of %s interrupted", self._resource.plural, extra=words)
                    self._interrupted = True
            except Exception:
                log.exception("watch of %s failed", self._resource.plural)
            if time.monotonic() - listed_at > STEADY_S:
                wait_s = FIRST_WAIT_S
            jittered_s = wait_s * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
            await asyncio.sleep(max(jittered_s, at_least_s))
            wait_s = min(LONGEST_REFUSED_WAIT_S if self.refused else LONGEST_WAIT_S, wait_s * 2)

    async def _list(self) -> str:
        answer = await self._cluster.list(self._resource, self._namespace, OWNER_LABEL)
        self._heard_at = time.monotonic()
        items = answer["items"]
        for item in items:
            item.setdefault("apiVersion", self._resource.api_version)
            item.setdefault("kind", self._resource.kind)
        gone = self._store.replace(self._resource.kind, items, version_of(answer), self._namespace)
        came = not self.available or self.refused
        self.available, self.refused = True, False
        self.synced.set()
        for body in [*gone, *items]:
            self._tell(body)
        if came or self._interrupted:
            log.info("watching %s", self._resource.plural)
        self._interrupted = False
        self._on_list()
        version: str = answer["metadata"]["resourceVersion"]
        return version

    async def _follow(self, version: str) -> str:
        async for event in self._cluster.watch(self._resource, self._namespace, OWNER_LABEL, version):
            self._heard_at = time.monotonic()
            body: Body = event["object"]
            version = body["metadata"]["resourceVersion"]
            if event["type"] == "BOOKMARK":
                continue
            known = self._store.get(self._resource.kind, key_of(body))
            if event["type"] == "DELETED":
                self._store.remove(self._resource.kind, body)
                self._tell(body)
            elif self._store.put(self._resource.kind, body):
                self._tell(body)
                if known is not None and owner_of(known) != owner_of(body):
                    self._tell(known)  # who misses it now
        # An end is a word too, and may be the only one: an API server that has just started sends no bookmark of a kind
        # before the first event.
        self._heard_at = time.monotonic()
        return version

    def _missing(self) -> None:
        self._heard_at = time.monotonic()
        if self.available or not self.synced.is_set():
            log.warning("the cluster has no %s; waiting for it", self._resource.plural, extra={"reason": "KindMissing"})
        was_refused, self.refused = self.refused, False
        self.available = False
        self.synced.set()
        if was_refused:
            self._on_list()  # nothing was done here meanwhile

    def _not_ours(self, error: ApiError) -> None:
        if not self.refused:
            words = {"namespace": self._namespace, "reason": error.reason, "error": error.message}
            log.warning("%s may not be read in a namespace; it is left alone", self._resource.plural, extra=words)
        self.refused = True
        self.synced.set()

    def _tell(self, body: Body) -> None:
        if owner := owner_of(body):
            self._notify(owner)
