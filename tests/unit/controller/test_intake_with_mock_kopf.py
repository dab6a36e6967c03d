"""A mock for the thread with kopf. It ends when a test says so; the real one is in the contract tests."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import web
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller import intake as intake_module
from moorage.controller.cluster import Cluster
from moorage.controller.handlers import KopfThread
from moorage.controller.intake import Intake
from moorage.controller.recount import Recount

GROUP = "/apis/moorage.dev/v1alpha1"


class Kopf:
    """In the place of a thread with kopf: it ends when a test says so."""

    def __init__(self) -> None:
        self.ended, self.stopped = asyncio.Event(), False
        self.namespaces: Sequence[str] = ()

    async def stop(self) -> None:
        self.stopped = True


class Counts:
    """In the place of a recount: finds what a test says."""

    def __init__(self) -> None:
        self.found, self.asked = 0, 0
        self.readable: tuple[str, ...] = ()

    async def look(self) -> tuple[str, ...]:
        return self.readable

    async def missed(self) -> int:
        self.asked += 1
        return self.found


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(intake_module, "LONGEST_WAIT_S", 0.02)


@asynccontextmanager
async def running(
    connection: Connection, recount_s: float = 60.0
) -> AsyncIterator[tuple[list[Kopf], Counts, list[int]]]:
    started: list[Kopf] = []
    counts, missed = Counts(), list[int]()

    def start(namespaces: Sequence[str]) -> KopfThread:
        started.append(Kopf())
        started[-1].namespaces = namespaces
        return cast(KopfThread, started[-1])

    intake = Intake(connection.cluster, start, cast(Recount, counts), missed.append, recount_s)
    task = asyncio.create_task(intake.run())
    try:
        async with asyncio.timeout(1.5):
            yield started, counts, missed
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def served(_: web.Request) -> web.StreamResponse:
    return web.json_response({"resources": [{"name": "modeldeployments"}]})


async def test_kopf_is_started_again_when_it_has_ended(connection: Connection) -> None:
    connection.server.faults["GET", GROUP] = served
    async with running(connection) as (started, _, _):
        await until(lambda: len(started) == 1)
        started[0].ended.set()
        await until(lambda: len(started) == 2)
        assert started[0].stopped
        assert not started[1].stopped
    assert started[1].stopped, "it does not outlive the controller"


async def test_kopf_is_started_again_when_it_has_missed_a_change(connection: Connection) -> None:
    connection.server.faults["GET", GROUP] = served
    async with running(connection, recount_s=0.05) as (started, counts, missed):
        await until(lambda: counts.asked >= 2)
        assert len(started) == 1
        counts.found = 3
        await until(lambda: len(started) == 2)
        assert started[0].stopped
        assert missed[0] == 3


async def test_kopf_is_started_again_with_the_new_ca_when_the_clusters_was_rotated(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.server.faults["GET", GROUP] = served
    async with running(connection, recount_s=0.05) as (started, counts, _):
        await until(lambda: counts.asked >= 1)
        assert len(started) == 1
        monkeypatch.setattr(Cluster, "authority", "another")
        await until(lambda: len(started) == 2)
        assert started[0].stopped


async def test_kopf_is_told_of_the_namespaces_that_may_be_read_and_anew_when_those_are_others(
    connection: Connection,
) -> None:
    connection.server.faults["GET", GROUP] = served
    async with running(connection, recount_s=0.05) as (started, counts, _):
        counts.readable = ("a",)
        await until(lambda: started)
        assert started[0].namespaces == ("a",)
        counts.readable = ("a", "b")
        await until(lambda: len(started) == 2)
        assert started[0].stopped
        assert started[1].namespaces == ("a", "b")


async def test_without_the_kind_kopf_waits_for_it(connection: Connection) -> None:
    connection.server.faults["GET", GROUP] = status(404, "", "404 page not found")
    async with running(connection) as (started, _, _):
        await until(lambda: len(connection.server.requests) >= 3)
        assert started == []
        connection.server.faults["GET", GROUP] = served
        await until(lambda: len(started) == 1)


async def test_an_outage_is_waited_out(connection: Connection) -> None:
    connection.server.faults["GET", GROUP] = status(503, "ServiceUnavailable", "away")
    async with running(connection) as (started, _, _):
        await asyncio.sleep(0.1)
        assert started == []
        connection.server.faults["GET", GROUP] = served
        await until(lambda: len(started) == 1)
