"""How answers leave on the wire: whole ones in one write, others as uvicorn sends them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from moorage.api.limits import RequestLimits
from moorage_predictor.wire.http.listener import HttpServer
from moorage_predictor.wire.http.protocol import limited_protocol

JSON = (b"content-type", b"application/json")
Send = Callable[[dict[str, Any]], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(answer: Callable[[Send], Awaitable[None]]) -> AsyncIterator[int]:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await answer(send)

    protocol = limited_protocol(RequestLimits())
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, server_header=False, date_header=False)
    loop = asyncio.get_running_loop()
    config.load()
    server = HttpServer(config)
    server.server_state.default_headers = []
    listener = await loop.create_server(lambda: protocol(config, server.server_state, {}), "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


async def ask(port: int, method: str = "GET", *, times: int = 1, headers: str = "") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    last = f"{method} / HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n"
    writer.write(f"{method} / HTTP/1.1\r\nhost: x\r\n{headers}\r\n".encode() * (times - 1) + last.encode())
    found = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return found


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def test_answers_on_one_connection_follow_each_other():
    async def answer(send: Send) -> None:
        await send(start(JSON, (b"X-Odd-Case", b"1"), (b"content-length", b"2")))
        await send(body(b"{}"))

    async with serving(answer) as port:
        found = await ask(port, times=3)
    whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-odd-case: 1\r\ncontent-length: 2\r\n\r\n{}"
    assert found.startswith(whole * 2)
    assert found.count(b"HTTP/1.1 200 OK") == 3


async def test_a_length_in_another_case_is_a_length():
    async def answer(send: Send) -> None:
        await send(start((b"Content-Length", b"2")))
        await send(body(b"{}"))

    async with serving(answer) as port:
        found = await ask(port, times=3)
    assert found.count(b"content-length: 2\r\n\r\n{}") == 2  # the last one tells of its close, too


async def test_a_body_in_parts_is_sent_as_it_comes():
    async def answer(send: Send) -> None:
        await send(start((b"content-length", b"6")))
        await send(body(b"abc", more=True))
        await asyncio.sleep(0)
        await send(body(b"def"))

    async with serving(answer) as port:
        assert (await ask(port, times=2)).count(b"\r\n\r\nabcdef") == 2


async def test_a_large_body_is_whole():
    content = bytes(range(256)) * 4096

    async def answer(send: Send) -> None:
        await send(start((b"content-length", b"%d" % len(content))))
        await send(body(memoryview(content)))  # type: ignore[arg-type]  # parts of answers are views

    async with serving(answer) as port:
        assert (await ask(port, times=2)).count(content) == 2


async def test_without_a_length_the_body_comes_in_chunks():
    async def answer(send: Send) -> None:
        await send(start(JSON))
        await send(body(b"abc"))

    async with serving(answer) as port:
        assert b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" in await ask(port, times=2)


async def test_head_gets_no_body():
    async def answer(send: Send) -> None:
        await send(start((b"content-length", b"3")))
        await send(body(b"abc"))

    async with serving(answer) as port:
        found = await ask(port, "HEAD", times=2)
    assert found.count(b"content-length: 3") == 2
    assert b"abc" not in found


@pytest.mark.parametrize("header", [(b"x-a", b"1\r\nx-b: 2"), (b"x-a\r\nx-b", b"1"), (b"x-a", b"1\n")])
async def test_a_header_that_would_be_two_is_never_sent(header: tuple[bytes, bytes]):
    async def answer(send: Send) -> None:
        await send(start(header, (b"content-length", b"2")))
        await send(body(b"{}"))

    async with serving(answer) as port:
        found = await ask(port, times=2)
    assert b"x-b" not in found
    assert not found.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("content", [b"a", b"abc"])
async def test_a_body_of_another_length_ends_the_connection(content: bytes):
    async def answer(send: Send) -> None:
        await send(start((b"content-length", b"2")))
        await send(body(content))

    async with serving(answer) as port:
        assert b"abc" not in await ask(port, times=2)


async def test_an_answer_that_stops_after_its_head_ends_the_connection():
    async def answer(send: Send) -> None:
        await send(start((b"content-length", b"2")))
        raise ValueError

    async with serving(answer) as port:
        assert b"{}" not in await ask(port, times=2)
