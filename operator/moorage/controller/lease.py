"""Which of several controllers may write: the one that holds the Lease. Run by process.py, asked by every write.

    holder    renews every 1.5 s ────────→ its fence closes 7 s after the last renewal that succeeded
    others    look every 1.5 s ──────────→ take the Lease 10 s after it last changed before their eyes

Nobody compares clocks with anybody: each side measures with its own, from what it has seen. The three seconds between are
for writes that were under way. A holder that was paused for longer finds its fence closed when it wakes, before it can
write anything (docs/design/0018). The Lease is given back at the end, so that a restart waits for nobody.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from moorage.controller.cluster import ApiError, Body, Cluster, Resource
from moorage.controller.rbac import LEASE_NAME

log = logging.getLogger(__name__)

LEASE = Resource("coordination.k8s.io/v1", "Lease", "leases")
LEASE_S, FENCE_S, RETRY_S = 10.0, 7.0, 1.5
CALL_TIMEOUT_S = 3.0
"""Of a call about the Lease: one that hangs must leave time for a second one before the fence closes."""


def awake_s() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the process, or the machine, sleeps."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class Election:
    """One controller's part in it.

    Args:
        cluster: with CALL_TIMEOUT_S and without a fence.
        namespace: of the Lease.
        identity: no other controller's.
        clock: seconds, see `awake_s`.
    """

    def __init__(self, cluster: Cluster, namespace: str, identity: str, clock: Callable[[], float] = awake_s) -> None:
        self._cluster, self._namespace, self._identity, self._clock = cluster, namespace, identity, clock
        self._until = 0.0
        self._mine: Body | None = None
        self._tried = False
        self._seen = ""
        self._seen_at = 0.0
        self._leads = False
        self._last_error = ""
        self._heard_at = clock()

    def silent_s(self) -> float:
        """Seconds since the API server last answered for the Lease, which it reads and writes in its store."""
        return self._clock() - self._heard_at

    def seconds_left(self) -> float:
        """For how long writes may still be made; 0 or less for who does not lead."""
        return self._until - self._clock()

    async def run(self, on_change: Callable[[bool], None]) -> None:
        """Until cancelled. `on_change` is told when this controller begins to lead, and when it no longer does."""
        while True:
            wait_s = await self._try()
            self._announce(on_change)
            await asyncio.sleep(wait_s * random.uniform(0.9, 1.1))  # noqa: S311 - jitter, not a secret

    async def release(self) -> None:
        """Give the Lease back, so that the next one need not wait. Only once nothing of ours writes any more, nor will.

        It is read anew: a renewal, or the taking itself, may have been under way when `run` was cancelled.
        """
        self._mine, self._until = None, 0.0
        if not self._tried:
            return
        await self._cluster.settled()
        try:
            live = await self._cluster.get(LEASE, self._namespace, LEASE_NAME)
            if live is not None and (live.get("spec") or {}).get("holderIdentity") == self._identity:
                spec = {**live["spec"], "holderIdentity": "", "renewTime": _now()}
                await self._cluster.update(LEASE, {**live, "spec": spec})
        except ApiError as error:
            log.info("the lease was not given back", extra={"reason": error.reason, "error": error.message})

    def _announce(self, on_change: Callable[[bool], None]) -> None:
        leads = self.seconds_left() > 0
        if leads != self._leads:
            self._leads = leads
            log.info("leading" if leads else "not leading", extra={"lease": self._name, "identity": self._identity})
            on_change(leads)

    @property
    def _name(self) -> str:
        return f"{self._namespace}/{LEASE_NAME}"

    async def _try(self) -> float:
        """Renew, or take what is free. Returns the seconds until the next try."""
        started, self._tried = self._clock(), True
        try:
            self._mine = await (self._renew(self._mine) if self._mine else self._take())
        except ApiError as error:
            if error.code in (404, 409):
                self._heard_at = self._clock()
            if self._mine and error.code in (404, 409):  # it went, or changed: also by a renewal whose answer was lost
                self._mine, self._until = None, 0.0
                return 0.0
            if error.code != 409 and error.message != self._last_error:  # 409: somebody was faster
                log.warning(
                    "the lease cannot be had", extra={"lease": self._name, "reason": error.reason, "error": str(error)}
                )
            self._last_error = error.message
            return max(RETRY_S, min(error.retry_after_s or 0.0, LEASE_S - FENCE_S))
        self._last_error = ""
        self._heard_at = self._clock()
        # From before the request: when the server stored it is not known, and others count from later.
        self._until = started + FENCE_S if self._mine else 0.0
        return RETRY_S

    async def _renew(self, held: Body) -> Body:
        held = {**held, "spec": {**held["spec"], "renewTime": _now()}}
        return await self._cluster.update(LEASE, held)

    async def _take(self) -> Body | None:
        live = await self._cluster.get(LEASE, self._namespace, LEASE_NAME)
        if live is None:
            return await self._cluster.create(
                LEASE, self._wanted({}, {"name": LEASE_NAME, "namespace": self._namespace})
            )
        if live["metadata"]["resourceVersion"] != self._seen:
            self._seen, self._seen_at = live["metadata"]["resourceVersion"], self._clock()
        spec = live.get("spec") or {}
        theirs_s = max(spec.get("leaseDurationSeconds") or 0, LEASE_S)
        if spec.get("holderIdentity") not in (None, "", self._identity) and self._clock() < self._seen_at + theirs_s:
            return None
        return await self._cluster.update(LEASE, self._wanted(spec, live["metadata"]))

    def _wanted(self, before: Body, metadata: Body) -> Body:
        now = _now()
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": metadata,
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(LEASE_S),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": before.get("leaseTransitions", -1) + 1,
            },
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
