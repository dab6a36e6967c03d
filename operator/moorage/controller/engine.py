"""The controller without kopf: watches of the children, the queue and the workers that reconcile.

handlers.py (kopf) -> Engine.seen / Engine.gone -> queue -> workers -> Reconciler.reconcile
"""

import asyncio
import logging
import random
import time
from collections import Counter
from datetime import UTC, datetime

from moorage.api.conditions import READY
from moorage.controller.cluster import ApiError, Body, Cluster
from moorage.controller.instruments import Instruments
from moorage.controller.observe import CHILDREN, DEPLOYMENT, MODEL_DEPLOYMENT, POD
from moorage.controller.queue import WorkQueue
from moorage.controller.reconcile import Reconciler, Result
from moorage.controller.store import Key, Store, key_of
from moorage.controller.watch import Watch
from moorage.render import Capabilities, RenderSettings

log = logging.getLogger(__name__)

WORKERS = 8
RESYNC_S = 600.0
"""Everything is looked at again this often (jittered), in case an event was lost. Costs no request if nothing changed."""
SYNC_TIMEOUT_S = 60.0


class Engine:
    """Runs until cancelled; `start` returns once the first lists are in."""

    def __init__(self, cluster: Cluster, settings: RenderSettings, instruments: Instruments) -> None:
        self._instruments = instruments
        self._store, self._queue = Store(), WorkQueue()
        self._reconciler = Reconciler(cluster, self._store, settings, Capabilities, lambda: datetime.now(UTC))
        self._watches = [
            Watch(cluster, resource, self._store, self._queue.add_soon, on_list=self._all_due)
            for resource in (*CHILDREN.values(), DEPLOYMENT, POD)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False

    async def start(self) -> None:
        """Begin to watch, wait for the first view of the children, then begin to work.

        Raises:
            TimeoutError: the API server gave no such view in time. Call it again; the watches go on meanwhile.
        """
        if not self._tasks:
            self._tasks += [asyncio.create_task(watch.run(), name="watch") for watch in self._watches]
        async with asyncio.timeout(SYNC_TIMEOUT_S):
            for watch in self._watches:
                await watch.synced.wait()
        self._tasks += [asyncio.create_task(self._work(), name=f"worker-{i}") for i in range(WORKERS)]
        self._tasks.append(asyncio.create_task(self._resync(), name="resync"))
        self._started = True

    async def stop(self) -> None:
        """End all tasks; a reconciliation that is cut off is begun again by the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def seen(self, body: Body) -> None:
        """A ModelDeployment was listed, added or changed."""
        if self._store.put(MODEL_DEPLOYMENT.kind, body):
            self._queue.add(key_of(body))

    def gone(self, body: Body) -> None:
        """A ModelDeployment was deleted."""
        self._store.remove(MODEL_DEPLOYMENT.kind, body)
        self._queue.succeed(key_of(body))

    def healthy(self) -> bool:
        """Whether no task has ended by itself; none is started yet while the API server does not answer."""
        return not any(task.done() for task in self._tasks)

    def ready(self) -> bool:
        """Whether the first view of the cluster is in and work goes on."""
        return self._started and self.healthy()

    def update_gauges(self) -> None:
        """Count the ModelDeployments by readiness; called before metrics are read."""
        counted: Counter[str] = Counter()
        for key in self._store.keys(MODEL_DEPLOYMENT.kind):
            body = self._store.get(MODEL_DEPLOYMENT.kind, key) or {}
            conditions = body.get("status", {}).get("conditions", [])
            counted[next((item["status"] for item in conditions if item["type"] == READY), "Unknown")] += 1
        self._instruments.deployments(counted)

    def _all_due(self) -> None:
        """After each fresh list too: what failed while the API server was away need not wait for its own retry."""
        for key in self._store.keys(MODEL_DEPLOYMENT.kind):
            self._queue.add_soon(key)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_S * random.uniform(0.9, 1.1))  # noqa: S311 - jitter
            self._all_due()

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                await self._one(key)
            finally:
                self._queue.done(key)

    async def _one(self, key: Key) -> None:
        started = time.perf_counter()
        try:
            outcome = await self._reconciler.reconcile(key)
            result, wait_s = outcome.result, outcome.retry_after_s
        except ApiError as error:
            if error.code not in (404, 409):  # the object changed or went while we worked; the watch will say how
                log.warning("will retry", extra={"object": str(key), "reason": error.reason, "error": error.message})
            result, wait_s = Result.RETRY, error.retry_after_s or 0.0
        except Exception:
            log.exception("reconciliation failed", extra={"object": str(key)})
            result, wait_s = Result.RETRY, 0.0
        if result is Result.RETRY:
            self._queue.retry(key, wait_s)
        else:
            self._queue.succeed(key)
        self._instruments.reconciled(result, time.perf_counter() - started)
