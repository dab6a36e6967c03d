import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller import watch as watch_module
from moorage.controller.cluster import Resource
from moorage.controller.store import Key, Store
from moorage.controller.watch import Watch
from moorage.render import OWNER_LABEL

POD = Resource("v1", "Pod", "pods")
CATS, DOGS = Key("demo", "cats"), Key("demo", "dogs")


def pod(name: str, owner: str = "cats", version: int = 1) -> dict[str, Any]:
    labels = {OWNER_LABEL: owner}
    metadata = {"namespace": "demo", "name": name, "uid": name, "resourceVersion": str(version), "labels": labels}
    return {"metadata": metadata}


class Script:
    """What the server lists and streams: the streams one after the other, then one that stays open."""

    def __init__(self, items: list[dict[str, Any]], *streams: list[dict[str, Any]]) -> None:
        self.items, self.streams, self.lists = items, list(streams), 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.lists += 1
            return web.json_response({"metadata": {"resourceVersion": "10"}, "items": self.items})
        response = web.StreamResponse()
        await response.prepare(request)
        for event in self.streams.pop(0) if self.streams else ():
            await response.write(json.dumps(event).encode() + b"\n")
        if not self.streams:
            await asyncio.sleep(5)
        return response


@asynccontextmanager
async def running(connection: Connection, store: Store, **hooks: Any) -> AsyncIterator[tuple[Watch, list[Key]]]:
    told: list[Key] = []
    watch = Watch(connection.cluster, POD, store, told.append, **hooks)
    task = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(1.5):
            await watch.synced.wait()
            yield watch, told
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(watch_module, "LONGEST_WAIT_S", 0.02)


async def test_who_may_list_and_not_watch_lists_ever_more_seldom(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "LONGEST_WAIT_S", 10.0)
    lists = 0

    async def refusing(request: web.Request) -> web.StreamResponse:
        nonlocal lists
        if "watch" in request.query:
            return web.json_response({"reason": "Forbidden", "message": "no watch"}, status=403)
        lists += 1
        return web.json_response({"metadata": {"resourceVersion": "10"}, "items": []})

    connection.server.faults["GET", "/pods"] = refusing
    async with running(connection, Store()):
        await until(lambda: lists > 4)
        await asyncio.sleep(0.5)
    assert lists < 12


async def test_what_is_listed_is_stored_and_its_owners_are_told(connection: Connection) -> None:
    connection.server.faults["GET", "/pods"] = Script([pod("a"), pod("b", "dogs")])
    store, became_available = Store(), []
    async with running(connection, store, on_list=lambda: became_available.append(1)) as (watch, told):
        assert watch.available
        assert (set(told), became_available) == ({CATS, DOGS}, [1])
    body = store.get("Pod", Key("demo", "a"))
    assert body is not None
    assert (body["apiVersion"], body["kind"]) == ("v1", "Pod")


async def test_events_move_the_store_and_tell_the_owners(connection: Connection) -> None:
    events = [
        {"type": "ADDED", "object": pod("b", "dogs", 11)},
        {"type": "MODIFIED", "object": pod("a", version=12)},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "13"}}},
        {"type": "DELETED", "object": pod("b", "dogs", 14)},
    ]
    connection.server.faults["GET", "/pods"] = Script([pod("a")], events)
    store = Store()
    async with running(connection, store) as (_, told):
        await until(lambda: len(told) == 4)
    assert told == [CATS, DOGS, CATS, DOGS]
    assert store.keys("Pod") == [Key("demo", "a")]


async def test_whose_child_becomes_anothers_is_told_too(connection: Connection) -> None:
    events = [{"type": "MODIFIED", "object": pod("a", "dogs", 12)}]
    connection.server.faults["GET", "/pods"] = Script([pod("a")], events)
    async with running(connection, Store()) as (_, told):
        await until(lambda: len(told) == 3)
    assert told == [CATS, DOGS, CATS]


async def test_an_event_that_is_older_than_what_is_known_is_not_told(connection: Connection) -> None:
    events = [{"type": "MODIFIED", "object": pod("a", version=3)}, {"type": "ADDED", "object": pod("b", "dogs", 11)}]
    connection.server.faults["GET", "/pods"] = Script([pod("a", version=5)], events)
    async with running(connection, Store()) as (_, told):
        await until(lambda: DOGS in told)
    assert told == [CATS, DOGS]


async def test_a_watch_goes_on_from_the_last_version_when_the_server_ends_the_stream(connection: Connection) -> None:
    script = Script([], [{"type": "ADDED", "object": pod("a", version=11)}], [])
    connection.server.faults["GET", "/pods"] = script
    async with running(connection, Store()):
        await until(lambda: len(connection.server.requests) >= 3)
    assert script.lists == 1
    assert [r.query["resourceVersion"] for r in connection.server.requests[:3]] == ["0", "10", "11"]


async def test_a_server_that_has_nothing_to_tell_is_heard_when_it_ends_the_stream(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    script = Script([], [], [])

    async def a_minute_later(request: web.Request) -> web.StreamResponse:
        nonlocal now_s
        if "watch" in request.query and len(script.streams) == 2:
            now_s = 60.0
        return await script(request)

    monkeypatch.setattr(watch_module, "time", SimpleNamespace(monotonic=lambda: now_s))
    connection.server.faults["GET", "/pods"] = a_minute_later
    async with running(connection, Store()) as (watch, _):
        await until(lambda: now_s == 60.0 and watch.silent_s() == 0)
    assert script.lists == 1


@pytest.mark.parametrize("code", [410, 500])
async def test_an_error_event_is_followed_by_a_fresh_list_and_missed_deletions_are_told(
    connection: Connection, code: int
) -> None:
    script = Script([pod("a")], [{"type": "ERROR", "object": {"code": code, "reason": "Expired"}}], [])
    connection.server.faults["GET", "/pods"] = script
    store = Store()
    async with running(connection, store) as (_, told):
        script.items = []
        await until(lambda: script.lists >= 2)
        await until(lambda: len(told) == 2)
    assert store.keys("Pod") == []


async def test_a_kind_that_the_cluster_does_not_have_counts_as_seen_and_is_picked_up_when_it_comes(
    connection: Connection,
) -> None:
    connection.server.faults["GET", "/pods"] = status(404, "", "404 page not found")
    became_available: list[int] = []
    async with running(connection, Store(), on_list=lambda: became_available.append(1)) as (watch, _):
        assert not watch.available
        connection.server.faults["GET", "/pods"] = Script([])
        await until(lambda: watch.available)
    assert became_available == [1]


@pytest.mark.parametrize("fault", [status(503, "ServiceUnavailable", "x"), status(401, "Unauthorized", "x")])
async def test_an_outage_is_waited_out(connection: Connection, fault: Any) -> None:
    connection.server.faults["GET", "/pods"] = fault
    watch = Watch(connection.cluster, POD, Store(), lambda key: None)
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0.05)
    assert not task.done()
    assert not watch.synced.is_set()
    connection.server.faults["GET", "/pods"] = Script([])
    async with asyncio.timeout(1):
        await watch.synced.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_namespace_that_is_refused_counts_as_answered_and_is_taken_up_when_it_comes_back(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.server.faults["GET", "/pods"] = status(403, "Forbidden", "pods is forbidden")
    listed: list[int] = []
    async with running(connection, Store(), on_list=lambda: listed.append(1), namespace="demo") as (watch, _):
        assert watch.refused
        await until(lambda: len(connection.server.requests) >= 3)
        assert len(caplog.records) == 1, "said once"
        connection.server.faults["GET", "/pods"] = Script([])
        await until(lambda: listed)
        assert not watch.refused


async def test_a_server_that_always_says_gone_is_not_asked_without_a_pause(connection: Connection) -> None:
    async def listed_and_gone(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await status(410, "Expired", "too old")(request)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    connection.server.faults["GET", "/pods"] = listed_and_gone
    async with running(connection, Store()):
        await asyncio.sleep(0.3)
    assert len(connection.server.requests) <= 2 * 0.3 / 0.01


async def test_a_list_from_a_server_that_lags_behind_takes_nothing_away_and_the_watch_goes_on_from_there(
    connection: Connection,
) -> None:
    store = Store()
    store.put("Pod", pod("a", version=100))
    script = Script([], [{"type": "MODIFIED", "object": pod("a", version=101)}])
    connection.server.faults["GET", "/pods"] = script
    async with running(connection, store) as (_, told):
        await until(lambda: told)
    body = store.get("Pod", Key("demo", "a"))
    assert body is not None
    assert body["metadata"]["resourceVersion"] == "101"
