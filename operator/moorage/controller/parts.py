"""The parts of one controller, wired together. Made and run by process.py.

Election, which says whether this controller may write ─┐ the fence of Cluster
Engine, which reconciles while it may                  ←┘
Discovery, which learns what the cluster can do
Intake -> kopf, which tells the engine of ModelDeployments
"""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from moorage.controller.capabilities import Discovery
from moorage.controller.cluster import WATCH_IDLE_S, Cluster
from moorage.controller.credentials import SERVICE_ACCOUNT, Credentials, load
from moorage.controller.engine import Engine
from moorage.controller.handlers import KopfThread, Told
from moorage.controller.health import STALE_PER_IDLE, Health
from moorage.controller.instruments import Instruments
from moorage.controller.intake import Intake
from moorage.controller.lease import CALL_TIMEOUT_S, LEASE, Election
from moorage.controller.observe import MODEL_DEPLOYMENT
from moorage.controller.recount import Recount
from moorage.render import RenderSettings

log = logging.getLogger(__name__)

HOME = "moorage-system"
"""The namespace of the lease, where no ServiceAccount says which one it is."""


@dataclass(frozen=True)
class ControllerSettings:
    """What `moor controller` is told."""

    render: RenderSettings
    host: str = "127.0.0.1"
    port: int = 8085
    log_level: str = "info"
    namespaces: tuple[str, ...] = ()
    """Those to look after; none stands for all."""
    leader_elect: bool = True
    lease_namespace: str | None = None
    watch_idle_s: float = WATCH_IDLE_S
    profiling: bool = False


class Parts:
    """One controller, between `connected` and its end.

    Args:
        cluster: whose fence is the election's.
        election: None where there is no other controller, and this one always leads.
    """

    def __init__(
        self, settings: ControllerSettings, cluster: Cluster, election: Election | None, instruments: Instruments
    ) -> None:
        self._cluster, self._instruments, self._election = cluster, instruments, election
        self._stale_s = settings.watch_idle_s * STALE_PER_IDLE
        self._discovery = Discovery(cluster, clusterwide=not settings.namespaces)
        self._engine = Engine(cluster, settings.render, instruments, settings.namespaces, self._discovery.current)
        told = Told(self._engine.seen, self._engine.gone)
        self._intake = Intake(
            cluster,
            lambda namespaces: KopfThread(credentials, told, namespaces, settings.watch_idle_s),
            Recount(cluster, self._engine.store, told, settings.namespaces),
            instruments.missed,
            recount_s=settings.watch_idle_s,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything runs inside, and has ended behind it: first who writes, then the right to write."""
        self._engine.start()
        self._start("intake", self._intake.run())
        self._start("discovery", self._discovery.run(self._engine.all_due))
        elects = []
        if self._election is None:
            self._engine.lead(True)
        else:
            elects.append(self._start("election", self._election.run(self._engine.lead)))
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await self._engine.stop()
            await self._cluster.settled()
            await asyncio.gather(*elects, return_exceptions=True)
            if self._election is not None:
                await self._election.release()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, name: str, part: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(part, name=name)
        task.add_done_callback(_told_if_ended)
        self._tasks.append(task)
        return task

    def health(self) -> Health:
        """What the endpoints answer of it."""
        return Health(
            alive=lambda: self._engine.healthy() and not any(task.done() for task in self._tasks),
            ready=self._engine.ready,
            leads=lambda: self._election is None or self._election.seconds_left() > 0,
            silent_s=self._silent_s,
            stale_s=self._stale_s,
        )

    def update_gauges(self) -> None:
        """Called before metrics are read."""
        self._engine.update_gauges()
        self._instruments.silence(self._silent_s())

    def _silent_s(self) -> dict[str, float]:
        silent = {**self._engine.silent_s(), MODEL_DEPLOYMENT.plural: self._intake.silent_s()}
        if self._election is not None:  # of an API server whose store has stopped the watches go on for long
            silent[LEASE.plural] = self._election.silent_s()
        return silent


def _told_if_ended(task: asyncio.Task[None]) -> None:
    """A part that ends by itself has a bug; /healthz says so too, but not which and why."""
    if not task.cancelled():
        words = {"part": task.get_name(), "reason": "Bug"}
        log.error("a part has ended that never should", extra=words, exc_info=task.exception())


@asynccontextmanager
async def connected(settings: ControllerSettings, instruments: Instruments, identity: str) -> AsyncIterator[Parts]:
    """The parts with their connections. The lease has its own, which no other call can fill.

    Raises:
        CredentialsError: there is no way to a cluster.
    """
    agent = f"moorage-controller ({identity})"
    async with AsyncExitStack() as stack:
        election, fence = None, lambda: math.inf
        if settings.leader_elect:
            own = Cluster(credentials, instruments.api_request, timeout_s=CALL_TIMEOUT_S, agent=agent)
            election = Election(await stack.enter_async_context(own), home(settings), identity)
            fence = election.seconds_left
        cluster = Cluster(
            credentials, instruments.api_request, fence=fence, watch_idle_s=settings.watch_idle_s, agent=agent
        )
        yield Parts(settings, await stack.enter_async_context(cluster), election, instruments)


def credentials() -> Credentials:
    """Those of this process, as they are at this moment."""
    return load(os.environ)


def home(settings: ControllerSettings) -> str:
    """The namespace of the lease: as told, else the pod's own."""
    file = SERVICE_ACCOUNT / "namespace"
    if settings.lease_namespace:
        return settings.lease_namespace
    return file.read_text().strip() if file.exists() else HOME
