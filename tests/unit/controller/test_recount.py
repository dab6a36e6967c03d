import asyncio
from typing import Any

import pytest
from aiohttp import web
from tests.builders import stored
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller import recount as recount_module
from moorage.controller.cluster import ApiError, Body
from moorage.controller.handlers import Told
from moorage.controller.recount import Recount
from moorage.controller.store import Key, Store

ALL = "/apis/moorage.dev/v1alpha1/modeldeployments"
CATS = Key("demo", "cats")


class World:
    """A cluster, and a store that knows what a test has told it."""

    def __init__(self, connection: Connection) -> None:
        self.server, self.store = connection.server, Store()
        self.told: list[tuple[str, str]] = []
        self.recount = Recount(connection.cluster, self.store, Told(self._seen, self._gone), ())
        self.server.faults["GET", ALL] = self._list

    def has(self, name: str, version: int, **more: Any) -> Body:
        body = stored(name=name, uid=more.pop("uid", name), version=version)
        self.server.objects[f"/apis/moorage.dev/v1alpha1/namespaces/demo/modeldeployments/{name}"] = body
        return body

    def _seen(self, body: Body) -> None:
        self.told.append(("seen", body["metadata"]["name"]))
        self.store.put("ModelDeployment", body)

    def _gone(self, body: Body) -> None:
        self.told.append(("gone", body["metadata"]["name"]))
        self.store.remove("ModelDeployment", body)

    async def _list(self, request: Any) -> Any:
        assert "PartialObjectMetadataList" in request.headers["Accept"]
        items = [{"metadata": body["metadata"]} for body in self.server.objects.values()]
        return web.json_response({"metadata": {"resourceVersion": "500"}, "items": items})


@pytest.fixture
def world(connection: Connection) -> World:
    return World(connection)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recount_module, "UNDER_WAY_S", 0.05)


async def test_nothing_is_missed_where_all_is_known_and_one_request_tells(world: World) -> None:
    world.store.put("ModelDeployment", world.has("cats", 100))
    assert await world.recount.missed() == 0
    assert len(world.server.requests) == 1


async def test_what_nobody_told_of_is_told(world: World) -> None:
    world.store.put("ModelDeployment", world.has("edited", 100))
    world.has("edited", 101)
    world.has("new", 102)
    world.store.put("ModelDeployment", stored(name="gone", uid="gone", version=90))
    world.store.put("ModelDeployment", stored(name="replaced", uid="before", version=91))
    world.has("replaced", 103, uid="after")
    assert await world.recount.missed() == 4
    assert sorted(world.told) == [
        ("gone", "gone"),
        ("gone", "replaced"),
        ("seen", "edited"),
        ("seen", "new"),
        ("seen", "replaced"),
    ]
    assert await world.recount.missed() == 0


async def test_an_event_that_is_under_way_is_not_missed(world: World) -> None:
    body = world.has("cats", 100)
    counting = asyncio.create_task(world.recount.missed())
    await asyncio.sleep(0.03)
    world.store.put("ModelDeployment", body)
    assert await counting == 0


async def test_what_is_younger_than_the_list_is_not_called_gone(world: World) -> None:
    world.store.put("ModelDeployment", stored(name="young", uid="young", version=501))
    assert await world.recount.missed() == 0


FORBIDDEN = status(403, "Forbidden", "modeldeployments is forbidden")


async def test_a_namespace_that_is_refused_is_forgotten_and_the_others_are_counted(connection: Connection) -> None:
    def listing(name: str, body: Body) -> None:
        async def answer(_: Any) -> Any:
            return web.json_response(
                {"metadata": {"resourceVersion": "500"}, "items": [{"metadata": body["metadata"]}]}
            )

        connection.server.faults["GET", f"/namespaces/{name}/modeldeployments"] = answer

    store, seen = Store(), list[Body]()
    recount = Recount(connection.cluster, store, Told(seen.append, seen.append), ("demo", "gone"))
    mine, theirs = stored(uid="mine", version=100), stored(uid="theirs", version=101)
    theirs["metadata"]["namespace"] = "gone"
    connection.server.objects["/apis/moorage.dev/v1alpha1/namespaces/demo/modeldeployments/cats"] = mine
    listing("demo", mine)
    listing("gone", theirs)
    assert await recount.look() == ("demo", "gone")
    store.put("ModelDeployment", theirs)
    connection.server.faults["GET", "/namespaces/gone/modeldeployments"] = FORBIDDEN
    assert await recount.missed() == 1, "the new one in the namespace that is left"
    assert [body["metadata"]["uid"] for body in seen] == ["mine"]
    assert (recount.readable, store.keys("ModelDeployment")) == (("demo",), [])
    listing("gone", theirs)
    assert await recount.look() == ("demo", "gone")
    assert store.put("ModelDeployment", theirs), "it is taken up again as it was"


async def test_to_be_refused_everywhere_is_a_failure(connection: Connection) -> None:
    connection.server.faults["GET", "/modeldeployments"] = FORBIDDEN
    for namespaces in (("demo", "other"), ()):
        with pytest.raises(ApiError):
            await Recount(connection.cluster, Store(), Told(print, print), namespaces).missed()
