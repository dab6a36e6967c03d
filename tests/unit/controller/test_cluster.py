import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller.cluster import ApiError, Body, Cluster, Resource
from moorage.controller.credentials import Credentials, CredentialsError

POD = Resource("v1", "Pod", "pods")
POLICY = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
PATH = "/api/v1/namespaces/demo/pods/a"


def pod(**more: Any) -> Body:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "demo", "name": "a"}, **more}


async def failure(call: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as error:
        await call
    return error.value


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (POD, (None,), "/api/v1/pods"),
        (POD, ("demo",), "/api/v1/namespaces/demo/pods"),
        (POD, ("demo", "a", "status"), "/api/v1/namespaces/demo/pods/a/status"),
        (POLICY, ("demo", "a"), "/apis/networking.k8s.io/v1/namespaces/demo/networkpolicies/a"),
    ],
)
def test_a_resource_knows_its_paths(resource: Resource, arguments: tuple[str, ...], path: str) -> None:
    assert resource.path(*arguments) == path


async def test_an_object_is_read_and_one_that_is_not_there_is_none(connection: Connection) -> None:
    connection.server.put(PATH, pod())
    found = await connection.cluster.get(POD, "demo", "a")
    assert found is not None
    assert found["metadata"]["name"] == "a"
    assert await connection.cluster.get(POD, "demo", "b") is None
    assert connection.counted == [("get", 200), ("get", 404)]


async def test_every_request_says_who_asks(connection: Connection) -> None:
    await connection.cluster.get(POD, "demo", "a")
    assert connection.server.requests[0].headers["Authorization"] == "Bearer token-1"


async def test_an_apply_is_a_server_side_apply_with_our_name(connection: Connection) -> None:
    await connection.cluster.apply(POD, pod())
    request = connection.server.requests[0]
    assert (request.method, request.path) == ("PATCH", PATH)
    assert dict(request.query) == {"fieldManager": "moorage", "force": "true"}
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"


async def test_credentials_are_loaded_again_after_a_401(connection: Connection) -> None:
    async def only_the_second_token(request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] == "Bearer token-2":
            return web.json_response(pod())
        return web.json_response({"reason": "Unauthorized", "message": "Unauthorized"}, status=401)

    connection.server.faults["GET", "/a"] = only_the_second_token
    error = await failure(connection.cluster.get(POD, "demo", "a"))
    assert (error.code, error.reason) == (401, "Unauthorized")
    assert await connection.cluster.get(POD, "demo", "a") == pod()


async def test_credentials_that_are_gone_for_a_moment_are_an_error_like_the_401(connection: Connection) -> None:
    loaded = [Credentials(server=connection.url)]

    def load() -> Credentials:
        if not loaded:
            raise CredentialsError("the token is being rotated")
        return loaded.pop()

    connection.server.faults["GET", "/a"] = status(401, "Unauthorized", "Unauthorized")
    async with Cluster(load, lambda verb, code: None) as cluster:
        error = await failure(cluster.get(POD, "demo", "a"))
    assert (error.code, error.message) == (401, "the token is being rotated")


@pytest.mark.parametrize(
    ("code", "headers", "retry_after_s"),
    [(409, {}, None), (429, {"Retry-After": "7"}, 7.0), (429, {"Retry-After": "soon"}, None), (503, {}, None)],
)
async def test_an_error_carries_the_servers_words_and_wish(
    connection: Connection, code: int, headers: dict[str, str], retry_after_s: float | None
) -> None:
    connection.server.faults["PATCH", "/a"] = status(code, "Because", "in its own words", **headers)
    error = await failure(connection.cluster.apply(POD, pod()))
    assert (error.code, error.reason, error.message) == (code, "Because", "in its own words")
    assert error.retry_after_s == retry_after_s
    assert connection.counted == [("apply", code)]


def answer(text: str, code: int = 200) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def give(_: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=code, content_type="application/json")

    return give


@pytest.mark.parametrize("text", ["404 page not found", "", "[]", '"no"', "null", "5"])
async def test_an_error_that_is_no_status_object_is_an_error_all_the_same(connection: Connection, text: str) -> None:
    connection.server.faults["PATCH", "/a"] = answer(text, 502)
    error = await failure(connection.cluster.apply(POD, pod()))
    assert (error.code, error.reason) == (502, "Bad Gateway")


@pytest.mark.parametrize("text", ["<html>", "", '{"a":'])
async def test_a_success_that_is_no_json_is_an_error(connection: Connection, text: str) -> None:
    connection.server.faults["GET", "/a"] = answer(text)
    await failure(connection.cluster.get(POD, "demo", "a"))


async def test_a_server_that_cannot_be_reached_is_code_0() -> None:
    counted: list[tuple[str, int]] = []
    nowhere = Credentials(server="http://127.0.0.1:1")
    async with Cluster(lambda: nowhere, lambda verb, code: counted.append((verb, code))) as cluster:
        error = await failure(cluster.get(POD, "demo", "a"))
    assert (error.code, error.reason) == (0, "Unreachable")
    assert counted == [("get", 0)]


@pytest.mark.parametrize("code", [404, 409])
async def test_deleting_what_is_gone_or_another_by_now_is_no_error(connection: Connection, code: int) -> None:
    connection.server.faults["DELETE", "/a"] = status(code, "x", "x")
    await connection.cluster.delete(POD, "demo", "a", "uid")


async def test_a_delete_names_the_uid(connection: Connection) -> None:
    bodies = []

    async def keep(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return web.json_response({})

    connection.server.faults["DELETE", "/a"] = keep
    await connection.cluster.delete(POD, "demo", "a", "uid-7")
    assert bodies == [{"preconditions": {"uid": "uid-7"}}]


async def test_a_refused_delete_is_an_error(connection: Connection) -> None:
    connection.server.faults["DELETE", "/a"] = status(403, "Forbidden", "no")
    assert (await failure(connection.cluster.delete(POD, "demo", "a", "uid"))).code == 403


async def test_a_client_that_is_not_open_says_so() -> None:
    cluster = Cluster(lambda: Credentials(server="http://127.0.0.1:1"), lambda verb, code: None)
    with pytest.raises(RuntimeError, match="async with"):
        await cluster.get(POD, "demo", "a")


def streamed(*chunks: bytes, torn: bool = False) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.005)  # so that chunks arrive one by one
        if torn and request.transport is not None:
            request.transport.abort()
        return response

    return stream


def event(event_type: str = "MODIFIED", **body: Any) -> bytes:
    return json.dumps({"type": event_type, "object": body}).encode() + b"\n"


async def watched(connection: Connection) -> list[Body]:
    return [item async for item in connection.cluster.watch(POD, None, "label", "7")]


async def test_a_watch_gives_events_until_the_server_ends_it(connection: Connection) -> None:
    connection.server.faults["GET", "/pods"] = streamed(event("ADDED", a=1), event(b=2) + event("BOOKMARK", c=3))
    assert [item["type"] for item in await watched(connection)] == ["ADDED", "MODIFIED", "BOOKMARK"]
    query = connection.server.requests[0].query
    assert (query["resourceVersion"], query["labelSelector"], query["watch"]) == ("7", "label", "true")
    assert connection.counted == [("watch", 200)]


async def test_an_event_may_be_longer_than_64_kib_and_come_in_pieces(connection: Connection) -> None:
    line = event(text="ä" * 200_000)
    pieces = [line[start : start + 70_001] for start in range(0, len(line), 70_001)]
    connection.server.faults["GET", "/pods"] = streamed(*pieces, event(a=1)[:5], event(a=1)[5:])
    first, second = await watched(connection)
    assert len(first["object"]["text"]) == 200_000
    assert second["object"] == {"a": 1}


async def test_an_error_event_is_an_error_with_its_code(connection: Connection) -> None:
    gone = event("ERROR", kind="Status", code=410, reason="Expired", message="too old resource version")
    connection.server.faults["GET", "/pods"] = streamed(event(a=1), gone)
    error = await failure(watched(connection))
    assert (error.code, error.reason, error.message) == (410, "Expired", "too old resource version")


async def test_a_watch_that_is_refused_is_an_error(connection: Connection) -> None:
    connection.server.faults["GET", "/pods"] = status(410, "Gone", "too old")
    assert (await failure(watched(connection))).code == 410


async def test_a_torn_watch_is_an_error_with_code_0(connection: Connection) -> None:
    connection.server.faults["GET", "/pods"] = streamed(event(a=1), torn=True)
    assert (await failure(watched(connection))).code == 0


async def test_a_watch_line_that_is_no_json_is_an_error(connection: Connection) -> None:
    connection.server.faults["GET", "/pods"] = streamed(event(a=1), b"<html>\n")
    assert (await failure(watched(connection))).code == 0
