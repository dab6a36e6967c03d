"""Keeps ModelDeployments coming in: waits for the kind, lets kopf watch it, and begins anew when kopf has ended or gone deaf.

    the API server serves the kind? ─→ KopfThread ─→ it has ended (an error in the stream, the CRD is gone)  ─→ anew
                                            └─ once a minute: has a change been missed? (recount.py)         ─→ anew
                                                              or may other namespaces be read than before?

kopf ends with the first namespace that refuses it. So it is told only of those that do not.

Run by process.py for as long as the controller lives.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence

from moorage.controller.cluster import ApiError, Cluster
from moorage.controller.handlers import KopfThread
from moorage.controller.observe import MODEL_DEPLOYMENT
from moorage.controller.recount import Recount

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
"""From the end of one kopf to the next, and between questions whether the kind is there: doubled where it does not help."""
LONG_S = 30.0
"""A kopf that ran for so long has helped."""
FIRST_RECOUNT_S, RECOUNT_S = 15.0, 60.0


class Intake:
    """Supervises kopf.

    Args:
        start: begins one run of kopf in some namespaces; none stands for all.
        recount: finds what was missed.
        missed: told how much that was.
        recount_s: from one recount to the next.
    """

    def __init__(
        self,
        cluster: Cluster,
        start: Callable[[Sequence[str]], KopfThread],
        recount: Recount,
        missed: Callable[[int], None],
        recount_s: float = RECOUNT_S,
    ) -> None:
        self._cluster, self._start, self._recount = cluster, start, recount
        self._missed, self._recount_s = missed, recount_s
        self._confirmed_at = time.monotonic()
        self._said_missing = self._interrupted = False

    def silent_s(self) -> float:
        """Seconds since it was last known that nothing is missed, or that there is no such kind."""
        return time.monotonic() - self._confirmed_at

    async def run(self) -> None:
        """Until cancelled."""
        wait_s = FIRST_WAIT_S
        while True:
            began = time.monotonic()
            try:
                if await self._kind_is_served():
                    await self._watch_until_deaf()
            except ApiError as error:
                level = logging.DEBUG if self._interrupted else logging.WARNING  # said once, not at each try
                words = {"reason": error.reason, "error": error.message}
                log.log(level, "watch of %s interrupted", MODEL_DEPLOYMENT.plural, extra=words)
                self._interrupted = True
            except Exception:
                log.exception("the intake failed", extra={"reason": "Bug"})
            if time.monotonic() - began > LONG_S:
                wait_s = FIRST_WAIT_S
            await asyncio.sleep(wait_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
            wait_s = min(LONGEST_WAIT_S, wait_s * 2)

    async def _kind_is_served(self) -> bool:
        if await self._cluster.serves(MODEL_DEPLOYMENT):
            self._said_missing = False
            return True
        self._confirmed_at = time.monotonic()
        if not self._said_missing:
            log.warning(
                "the cluster has no %s; waiting for it", MODEL_DEPLOYMENT.plural, extra={"reason": "KindMissing"}
            )
            self._said_missing = True
        return False

    async def _watch_until_deaf(self) -> None:
        authority = self._cluster.authority
        namespaces = await self._recount.look()
        self._interrupted = False
        log.info("watching %s", MODEL_DEPLOYMENT.plural)
        kopf = self._start(namespaces)
        wait_s = min(FIRST_RECOUNT_S, self._recount_s)  # what went while nobody watched is not in kopf's list
        try:
            while not await _within(kopf.ended, wait_s * random.uniform(0.9, 1.1)):  # noqa: S311 - jitter
                wait_s = self._recount_s
                if self._cluster.authority != authority:
                    log.info("the cluster's CA was rotated", extra={"reason": "Rotated"})
                    return  # kopf would stay with the one that it has begun with
                try:
                    missed = await self._recount.missed()
                except ApiError as error:
                    log.warning("no recount", extra={"reason": error.reason, "error": error.message})
                    continue
                self._confirmed_at = time.monotonic()
                if missed:
                    self._missed(missed)
                if missed or self._recount.readable != namespaces:
                    return
        finally:
            await kopf.stop()


async def _within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
