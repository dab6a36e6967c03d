"""What the controller says of itself, asked over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from moorage.api.metrics import METRICS
from moorage.controller.health import Health, app
from moorage.controller.instruments import Instruments


class Controller:
    """What a test says of it."""

    def __init__(self) -> None:
        self.alive = self.synced = self.leads = True
        self.silent = {"pods": 3.0}

    @asynccontextmanager
    async def asked(self, profile: bool = False) -> AsyncIterator[TestClient]:
        health = Health(
            alive=lambda: self.alive,
            ready=lambda: self.synced,
            leads=lambda: self.leads,
            silent_s=lambda: self.silent,
            stale_s=90.0,
        )
        made = app(health, Instruments(CollectorRegistry()), lambda: None, profile=profile)
        async with TestClient(TestServer(made)) as client:
            yield client


async def test_a_fresh_view_is_ready_also_in_a_standby() -> None:
    controller = Controller()
    controller.leads = False
    async with controller.asked() as client:
        answer = await client.get("/readyz")
        assert (answer.status, await answer.json()) == (200, {"ready": True, "leading": False})


async def test_a_stale_watch_is_named_with_the_time_since_when_and_is_no_reason_to_restart() -> None:
    controller = Controller()
    controller.silent = {"pods": 3.0, "inferenceservices": 91.0}
    async with controller.asked() as client:
        answer = await client.get("/readyz")
        body = await answer.json()
        assert (answer.status, body["ready"], list(body["staleSince"])) == (503, False, ["inferenceservices"])
        assert body["staleSince"]["inferenceservices"].endswith("Z")
        assert (await client.get("/healthz")).status == 200


@pytest.mark.parametrize(("alive", "synced", "expected"), [(True, False, (200, 503)), (False, True, (503, 503))])
async def test_live_and_ready_are_two_questions(alive: bool, synced: bool, expected: tuple[int, int]) -> None:
    controller = Controller()
    controller.alive, controller.synced = alive, synced
    async with controller.asked() as client:
        assert ((await client.get("/healthz")).status, (await client.get("/readyz")).status) == expected


async def test_every_metric_of_the_table_is_exposed_and_no_other_of_ours() -> None:
    async with Controller().asked() as client:
        text = await (await client.get("/metrics")).text()
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE moorage_")}
    created = {name for name in families if name.endswith("_created")}
    assert families - created == {metric.name for metric in METRICS if metric.component == "controller"}


async def test_profiling_is_off_unless_it_is_switched_on() -> None:
    async with Controller().asked() as client:
        assert (await client.get("/debug/profile")).status == 404
        assert (await client.get("/debug/tasks")).status == 404


async def test_a_profile_names_the_functions_and_tasks_say_where_they_wait() -> None:
    async with Controller().asked(profile=True) as client:
        first = asyncio.create_task(client.get("/debug/profile?seconds=0.2"))
        await asyncio.sleep(0.05)
        assert (await client.get("/debug/profile?seconds=0.2")).status == 409
        text = await (await first).text()
        assert "tottime" in text
        assert "test_health.py" in await (await client.get("/debug/tasks")).text()
        for seconds in ("0", "-1", "61", "soon", "nan"):
            answer = await client.get("/debug/profile", params={"seconds": seconds})
            assert (answer.status, await answer.text()) == (
                400,
                f"seconds: expected a number above 0, at most 60, got {seconds!r}\n",
            )
