"""The controller without kopf: watches of the children, the queue and the workers that reconcile.

handlers.py (kopf) -> Engine.seen / Engine.gone -> queue -> workers -> Reconciler.reconcile

Watches and queue run in every controller; the workers only in the one that leads, so that a standby knows all that there
is to know when its turn comes.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from moorage.api.conditions import READY
from moorage.controller.claims import Claims
from moorage.controller.cluster import NOT_LEADING, ApiError, Body, Cluster
from moorage.controller.events import Events
from moorage.controller.instruments import Instruments
from moorage.controller.observe import CHILDREN, DEPLOYMENT, MODEL_DEPLOYMENT, POD
from moorage.controller.queue import WorkQueue
from moorage.controller.reconcile import Outcome, Reconciler, Result
from moorage.controller.store import Key, Store, key_of
from moorage.controller.watch import Watch
from moorage.render import Capabilities, RenderSettings

log = logging.getLogger(__name__)

WORKERS = 8
CROWD = 4 * WORKERS
"""Keys that are due or in work, from which on objects come first: pods take long to start, a status can wait."""
LAST_EVENTS_S = 1.0
"""For those that wait when it stops."""
RESYNC_S = 600.0
"""Everything is looked at again this often (jittered), in case an event was lost. Costs no request if nothing changed."""


class Engine:
    """Begins with `start`, works while `lead(True)` holds, ends with `stop`.

    Args:
        namespaces: those to look after; none stands for all.
        capabilities: what the cluster can do, asked anew at each reconciliation.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: RenderSettings,
        instruments: Instruments,
        namespaces: Sequence[str] = (),
        capabilities: Callable[[], Capabilities] = Capabilities,
    ) -> None:
        self._instruments = instruments
        self._queue = WorkQueue(instruments.queued)
        self.store = Store(self._queue.add_soon)
        self._events = Events(cluster)
        self._claims = Claims(cluster, ask_first=bool(namespaces), returned=self.all_due)
        self._reconciler = Reconciler(
            cluster,
            self.store,
            settings,
            capabilities,
            lambda: datetime.now(UTC),
            self._events,
            lambda: len(self._queue) > CROWD,
        )
        self.watches = [
            Watch(
                cluster, resource, self.store, self._queue.add_soon, partial(self._listed, resource.plural), namespace
            )
            for resource in (*CHILDREN.values(), DEPLOYMENT, POD)
            for namespace in namespaces or (None,)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._leading = asyncio.Event()

    def start(self) -> None:
        """Begin to watch; the workers follow once the first view of the children is in, and `lead` allows it."""
        self._tasks += [asyncio.create_task(watch.run(), name="watch") for watch in self.watches]
        self._tasks += [asyncio.create_task(self._work(), name=f"worker-{i}") for i in range(WORKERS)]
        self._tasks.append(asyncio.create_task(self._resync(), name="resync"))
        self._tasks.append(asyncio.create_task(self._events.run(), name="events"))

    async def stop(self) -> None:
        """End all tasks; a reconciliation that is cut off is begun again by the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_EVENTS_S):
                await self._events.post()

    def lead(self, leading: bool) -> None:
        """Begin or cease to reconcile. What is under way when it ceases is stopped by the fence at its next write."""
        if leading:
            self._leading.set()
            self.all_due()
        else:
            self._leading.clear()
        self._instruments.leads(leading)

    def seen(self, body: Body) -> None:
        """A ModelDeployment was listed, added or changed."""
        if self.store.put(MODEL_DEPLOYMENT.kind, body):
            self._queue.add(key_of(body))

    def gone(self, body: Body) -> None:
        """A ModelDeployment was deleted."""
        self.store.remove(MODEL_DEPLOYMENT.kind, body)
        self._queue.succeed(key_of(body))

    def healthy(self) -> bool:
        """Whether no task has ended by itself."""
        return not any(task.done() for task in self._tasks)

    def ready(self) -> bool:
        """Whether the first view of the cluster is in and work goes on. Of several namespaces some may be refused, not all."""
        synced = all(watch.synced.is_set() for watch in self.watches)
        return bool(self._tasks) and self.healthy() and synced and not all(watch.refused for watch in self.watches)

    def silent_s(self) -> dict[str, float]:
        """By kind, for how many seconds the API server has said nothing of it in some namespace that is not refused."""
        silent: dict[str, float] = {}
        for watch in self.watches:
            silent.setdefault(watch.plural, 0.0)
            if not watch.refused:
                silent[watch.plural] = max(silent[watch.plural], watch.silent_s())
        return silent

    def update_gauges(self) -> None:
        """Count what is known and what waits; called before metrics are read."""
        counted: Counter[str] = Counter()
        for key in self.store.keys(MODEL_DEPLOYMENT.kind):
            body = self.store.get(MODEL_DEPLOYMENT.kind, key) or {}
            conditions = body.get("status", {}).get("conditions", [])
            counted[next((item["status"] for item in conditions if item["type"] == READY), "Unknown")] += 1
        self._instruments.deployments(counted)
        self._instruments.objects(self.store.count())
        self._instruments.left_alone(self._claims.left_alone())
        leading = self._leading.is_set()  # in a standby they wait for their turn, and that is as it should be
        self._instruments.queue(len(self._queue) if leading else 0, self._queue.oldest_s() if leading else 0.0)

    def all_due(self, namespace: str | None = None) -> None:
        """Look at every ModelDeployment, of one namespace or (None) of all, in a moment."""
        for key in self.store.keys(MODEL_DEPLOYMENT.kind):
            if namespace in (None, key.namespace):
                self._queue.add_soon(key)

    def _listed(self, plural: str) -> None:
        self._instruments.listed(plural)
        self.all_due()  # what failed while the API server was away need not wait for its own retry

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_S * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
            self.all_due()

    async def _work(self) -> None:
        for watch in self.watches:
            await watch.synced.wait()
        while True:
            await self._leading.wait()
            key = await self._queue.take()
            try:
                # else: all are due when it leads again, or when what is refused is listed again
                if self._leading.is_set() and not self._refused(key.namespace):
                    await self._one(key)
                elif self._leading.is_set():
                    self._queue.succeed(key)
            finally:
                self._queue.done(key)

    def _refused(self, namespace: str) -> bool:
        """Whether we see only a part of what is in a namespace, and may judge and write nothing there."""
        return any(watch.refused for watch in self.watches if watch.namespace == namespace)

    async def _one(self, key: Key) -> None:
        started = time.perf_counter()
        try:
            body = self.store.get(MODEL_DEPLOYMENT.kind, key)
            if body is None or await self._claims.holds(key, body):
                outcome = await self._reconciler.reconcile(key)
            else:
                outcome = self._left_alone(key)
        except ApiError as error:
            lost = self._claims.lost(key, error)
            # 404, 409: the object changed or went while we worked; the watch will say how
            if error.code not in (404, 409) and error.reason != NOT_LEADING and not lost:
                log.warning("will retry", extra={**self._about(key), "reason": error.reason, "error": error.message})
            outcome = self._left_alone(key) if lost else Outcome(Result.RETRY, error.retry_after_s or 0.0)
        except Exception:
            log.exception("reconciliation failed", extra={**self._about(key), "reason": "Bug"})
            outcome = Outcome(Result.RETRY)
        if outcome.result is Result.RETRY:
            self._queue.retry(key, outcome.retry_after_s)
        else:
            self._queue.succeed(key)
        self._queue.look_again(key, outcome.look_again_s)
        self._instruments.reconciled(outcome.result, time.perf_counter() - started)

    def _left_alone(self, key: Key) -> Outcome:
        return Outcome(Result.LEFT_ALONE, look_again_s=self._claims.ask_in_s(key.namespace) or 0.0)

    def _about(self, key: Key) -> dict[str, object]:
        body = self.store.get(MODEL_DEPLOYMENT.kind, key) or {"metadata": {}}
        return {"namespace": key.namespace, "object": key.name, "generation": body["metadata"].get("generation", 0)}
