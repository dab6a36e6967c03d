import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.control_plane.pki import Authority
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller.cluster import NOT_LEADING, ApiError, Body, Cluster, Resource
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


async def test_a_kind_that_the_server_does_not_know_yet_is_not_taken_for_an_object_that_is_gone(
    connection: Connection,
) -> None:
    async def starting(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="404 page not found\n")

    connection.server.faults["GET", "/a"] = starting
    assert (await failure(connection.cluster.get(POD, "demo", "a"))).code == 404


async def test_every_request_says_who_asks(connection: Connection) -> None:
    await connection.cluster.get(POD, "demo", "a")
    assert connection.server.requests[0].headers["Authorization"] == "Bearer token-1"


async def test_an_apply_is_a_server_side_apply_with_our_name(connection: Connection) -> None:
    await connection.cluster.apply(POD, pod())
    request = connection.server.requests[0]
    assert (request.method, request.path) == ("PATCH", PATH)
    assert dict(request.query) == {"fieldManager": "moorage", "force": "true", "timeout": "25500ms"}
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


async def _list(cluster: Cluster) -> None:
    await cluster.list(POD, None)


async def _discover(cluster: Cluster) -> None:
    await cluster.discovery("")


async def _watch(cluster: Cluster) -> None:
    async for _ in cluster.watch(POD, None, "", "1"):
        pass


@pytest.mark.parametrize("call", [_list, _discover, _watch])
async def test_a_ca_that_was_rotated_with_the_servers_certificate_is_picked_up_by_the_next_try(
    tmp_path: Path, call: Callable[[Cluster], Awaitable[None]]
) -> None:
    before, after = Authority(tmp_path / "before", "before"), Authority(tmp_path / "after", "after")
    pair = after.server("server", "server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.certificate_path, pair.key_path)
    known = [before]
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer("{}"))
    server = TestServer(app)
    await server.start_server(ssl=tls)
    url = f"https://127.0.0.1:{server.port}"

    def load() -> Credentials:
        return Credentials(server=url, ca_data=known[-1].pair.certificate_path.read_text())

    try:
        async with Cluster(load, lambda verb, code: None) as cluster:
            error = await failure(call(cluster))
            assert (error.code, error.reason) == (0, "Unreachable"), "whom nobody vouches for is not talked to"
            known.append(after)
            assert (await failure(call(cluster))).code == 0
            assert cluster.authority == after.pair.certificate_path.read_text()
            await call(cluster)
    finally:
        await server.close()


async def test_the_server_is_told_to_give_up_on_a_write_before_the_fence_closes_and_on_no_read(
    connection: Connection,
) -> None:
    nobody = Credentials(server=connection.url)
    async with Cluster(lambda: nobody, lambda verb, code: None, fence=lambda: 2.0) as cluster:
        await cluster.apply(POD, pod())
        await cluster.get(POD, "demo", "a")
    assert [request.query.get("timeout") for request in connection.server.requests] == ["1700ms", None]


async def test_a_write_that_is_under_way_is_waited_for_though_its_caller_was_cancelled(connection: Connection) -> None:
    came, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        came.set()
        await go_on.wait()
        return web.json_response(pod())

    connection.server.faults["PATCH", "/a"] = slow
    caller = asyncio.create_task(connection.cluster.apply(POD, pod()))
    await came.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    settled = asyncio.create_task(connection.cluster.settled())
    await asyncio.sleep(0.05)
    assert not settled.done()
    go_on.set()
    await settled
    assert connection.counted == [("apply", 200)]


async def test_an_apply_says_which_object_it_means(connection: Connection) -> None:
    made = await connection.cluster.apply(POD, pod())
    error = await failure(connection.cluster.apply(POD, pod()))
    assert error.code == 409, "somebody else's, that came meanwhile"
    await connection.cluster.apply(POD, pod(), uid=made["metadata"]["uid"])
    assert (await failure(connection.cluster.apply(POD, pod(), uid="another"))).code == 409
    await connection.cluster.delete(POD, "demo", "a", made["metadata"]["uid"])
    assert (await failure(connection.cluster.apply(POD, pod(), uid=made["metadata"]["uid"]))).code == 409


@pytest.mark.parametrize(
    ("code", "headers", "retry_after_s"),
    [
        (409, {}, None),
        (429, {"Retry-After": "7"}, 7.0),
        (429, {"Retry-After": "soon"}, None),
        (503, {}, None),
        (503, {"Retry-After": "3600"}, 30.0),
    ],
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


class Fence:
    """Gives the next answer each time it is asked; the last one for ever."""

    def __init__(self, *seconds: float) -> None:
        self._seconds, self.asked = list(seconds), 0

    def __call__(self) -> float:
        self.asked += 1
        return self._seconds.pop(0) if len(self._seconds) > 1 else self._seconds[0]


def fenced(connection: Connection, fence: Fence) -> Cluster:
    return Cluster(lambda: Credentials(server=connection.url, token="t"), lambda verb, code: None, fence=fence)


async def test_a_closed_fence_lets_reads_pass_and_no_write(connection: Connection) -> None:
    async with fenced(connection, Fence(0.0)) as cluster:
        assert await cluster.get(POD, "demo", "a") is None
        for write in (
            cluster.apply(POD, pod()),
            cluster.create(POD, pod()),
            cluster.delete(POD, "demo", "a", "uid"),
            cluster.patch_status(POD, "demo", "a", {}, "1"),
        ):
            assert (await failure(write)).reason == NOT_LEADING
    assert [request.method for request in connection.server.requests] == ["GET"]


async def test_a_fence_that_closes_before_the_first_byte_is_seen(connection: Connection) -> None:
    fence = Fence(5.0, -1.0)
    async with fenced(connection, fence) as cluster:
        assert (await failure(cluster.apply(POD, pod()))).reason == NOT_LEADING
        assert fence.asked == 2
        assert connection.server.requests == []
        connection.server.put(PATH, pod())
        assert await cluster.get(POD, "demo", "a") is not None, "the connection pool is none the worse for it"


async def test_a_fence_that_closes_after_the_headers_were_made_and_before_anything_is_sent_is_seen(
    connection: Connection,
) -> None:
    """aiohttp writes both in a task of its own, and until its turn comes a process may have been paused for long."""
    fence = Fence(5.0, 5.0, -1.0)
    async with fenced(connection, fence) as cluster:
        assert (await failure(cluster.apply(POD, pod()))).reason == NOT_LEADING
        await asyncio.sleep(0.05)
        assert connection.server.requests == []
        connection.server.put(PATH, pod())
        assert await cluster.get(POD, "demo", "a") is not None, "the connection pool is none the worse for it"


async def test_a_write_is_not_waited_for_longer_than_the_fence_is_open(connection: Connection) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1.5)
        return web.json_response({})

    connection.server.faults["PATCH", "/a"] = slow
    async with fenced(connection, Fence(0.05)) as cluster:
        assert (await failure(cluster.apply(POD, pod()))).reason == "Unreachable"


async def test_a_wish_to_wait_is_read_from_the_status_too(connection: Connection) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return web.json_response({"reason": "TooManyRequests", "details": {"retryAfterSeconds": 3}}, status=429)

    connection.server.faults["GET", "/a"] = busy
    assert (await failure(connection.cluster.get(POD, "demo", "a"))).retry_after_s == 3
