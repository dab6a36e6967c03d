"""A TLS proxy in front of the real API server, with faults on demand: what a healthy server and network never do.

    with FaultProxy(plane.url, plane.ca, certificate, key) as proxy:
        proxy.refuse() / proxy.answer_all(503) / proxy.freeze() / proxy.heal()
        proxy.once(Match("PATCH", "/status"), status(409, ...))       # one fault, then back to normal
        proxy.after_write(3, kill)                                    # called when the API server has stored the third

It ends the controller's TLS with a certificate of the control plane's own authority and speaks TLS to the API server; the
caller's token passes through. It runs in a thread with a loop of its own.
"""

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

WRITES = ("POST", "PUT", "PATCH", "DELETE")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length"}


@dataclass(frozen=True)
class Seen:
    """A request that reached the proxy."""

    at: float
    """time.monotonic()"""
    method: str
    path: str
    watch: bool
    token: str = field(repr=False)


@dataclass(frozen=True)
class Match:
    """Which requests a fault is for; None and "" stand for any."""

    method: str | None = None
    end: str = ""
    """How the path ends."""
    watch: bool | None = None
    token: str | None = None

    def __call__(self, seen: Seen) -> bool:
        return (
            self.method in (None, seen.method)
            and seen.path.endswith(self.end)
            and self.watch in (None, seen.watch)
            and self.token in (None, seen.token)
        )


@dataclass(frozen=True)
class Fault:
    """An answer in the API server's place. `event` is sent as the only line of a stream that then ends."""

    code: int = 200
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    event: dict[str, Any] | None = None


def status(code: int, reason: str, **headers: str) -> Fault:
    """A Status object with this code."""
    return Fault(code, reason, headers)


def error_event(code: int, reason: str) -> Fault:
    """A watch that tells of an error."""
    return Fault(
        event={"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": reason, "message": reason}}
    )


class FaultProxy:
    """Listens on a free loopback port from `with` on; `url` is where."""

    def __init__(self, upstream: str, ca: Path, certificate: Path, key: Path) -> None:
        self._upstream, self._ca = upstream, ca
        self._server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._server_tls.load_cert_chain(certificate, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._once: list[tuple[Match, Fault]] = []
        self._always: list[tuple[Match, Fault]] = []
        self._flowing = asyncio.Event()
        self._site: web.TCPSite | None = None
        self._port = 0
        self._after_writes: tuple[Callable[[Seen], bool], int, Callable[[], None]] | None = None
        self._before: tuple[Match, Callable[[], None]] | None = None
        self._silent_until = 0.0
        self._lost = ""
        self.seen: list[Seen] = []

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def refuse(self) -> None:
        """Nothing listens, and what was connected is cut."""
        self._do(self._unlisten())

    def freeze(self) -> None:
        """Everything stays connected, and nothing moves: as when a network loses every packet."""
        self._do(self._set_flowing(False))

    def silence(self) -> None:
        """What is open says nothing any more; who opens anew is heard."""
        self._silent_until = time.monotonic()

    def lose(self, end: str) -> None:
        """Watches of such paths tell of nothing any more, and stay open."""
        self._lost = end

    def answer_all(self, code: int, reason: str = "ServiceUnavailable") -> None:
        """Every request gets this answer; streams that are open end."""
        self._always = [(Match(), status(code, reason))]
        self._do(self._cut())

    def always(self, match: Match, fault: Fault) -> None:
        """Such requests get this answer, until `heal`."""
        self._always.append((match, fault))

    def once(self, match: Match, fault: Fault) -> None:
        """The next such request gets this answer."""
        self._once.append((match, fault))

    def after_write(self, count: int, call: Callable[[], None], only: Callable[[Seen], bool]) -> None:
        """Call, when the API server has answered the `count`-th of these writes and before the controller hears of it."""
        self._after_writes = (only, count, call)

    def before(self, match: Match, call: Callable[[], None]) -> None:
        """Call, once, when such a request has come and before the API server gets it."""
        self._before = (match, call)

    def cut(self) -> None:
        """End what is connected; who comes back is let in."""
        self._do(self._cut())

    def heal(self) -> None:
        """No fault any more."""
        self._once.clear()
        self._always.clear()
        self._after_writes = self._before = None
        self._lost = ""
        self._do(self._set_flowing(True))
        self.listen_again()

    def present(self, certificate: Path, key: Path) -> None:
        """Show another certificate from now on; what is connected is cut."""
        self._server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._server_tls.load_cert_chain(certificate, key)
        self._do(self._unlisten())
        self._do(self._listen())

    def listen_again(self) -> None:
        """The end of `refuse`; other faults stay."""
        if self._site is None:
            self._do(self._listen())

    def waiting(self) -> int:
        """How many of the faults given to `once` nobody has met yet."""
        return len(self._once)

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _open(self) -> None:
        self._flowing.set()
        tls = ssl.create_default_context(cafile=str(self._ca))
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await self._listen()

    async def _close(self) -> None:
        self._flowing.set()
        await self._unlisten()
        await self._client.close()
        await self._runner.cleanup()

    async def _listen(self) -> None:
        self._site = web.TCPSite(
            self._runner, "127.0.0.1", self._port, ssl_context=self._server_tls, reuse_address=True
        )
        await self._site.start()
        server = self._site._server
        assert isinstance(server, asyncio.Server)
        self._port = server.sockets[0].getsockname()[1]

    async def _unlisten(self) -> None:
        if self._site is not None:
            await self._site.stop()
            self._site = None
        await self._cut()

    async def _cut(self) -> None:
        assert self._runner.server is not None
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def _set_flowing(self, flowing: bool) -> None:
        (self._flowing.set if flowing else self._flowing.clear)()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        seen = Seen(time.monotonic(), request.method, request.path, "watch" in request.query, token)
        self.seen.append(seen)
        await self._flowing.wait()
        if (fault := self._fault(seen)) is not None:
            return await _answer(request, fault)
        if self._before is not None and self._before[0](seen):
            (_, call), self._before = self._before, None
            call()
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
        async with self._client.request(
            request.method,
            self._upstream + request.raw_path,
            headers=headers,
            data=await request.read() or None,
        ) as answer:
            self._stored(seen, answer.status)
            passed = {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=passed)
            await self._flowing.wait()
            await response.prepare(request)
            async for chunk in _lines(answer) if seen.watch else answer.content.iter_any():
                await self._flowing.wait()
                if seen.at < self._silent_until:
                    await asyncio.Event().wait()
                if seen.watch and self._lost and seen.path.endswith(self._lost):
                    continue
                with contextlib.suppress(ConnectionError):
                    await response.write(chunk)
            with contextlib.suppress(ConnectionError):
                await response.write_eof()
            return response

    def _fault(self, seen: Seen) -> Fault | None:
        for index, (match, fault) in enumerate(self._once):
            if match(seen):
                del self._once[index]
                return fault
        return next((fault for match, fault in self._always if match(seen)), None)

    def _stored(self, seen: Seen, code: int) -> None:
        if self._after_writes is None or seen.method not in WRITES or code >= 400:
            return
        only, count, call = self._after_writes
        if not only(seen):
            return
        if count == 1:
            self._after_writes = None
            call()
        else:
            self._after_writes = (only, count - 1, call)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"


async def _answer(request: web.Request, fault: Fault) -> web.StreamResponse:
    if fault.event is not None:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(json.dumps(fault.event).encode() + b"\n")
        return response
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.code, "reason": fault.reason}
    return web.json_response({**body, "message": f"injected: {fault.reason}"}, status=fault.code, headers=fault.headers)
