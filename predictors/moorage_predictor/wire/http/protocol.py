"""One HTTP connection: uvicorn's own protocol, within the limits of `RequestLimits`. Made by uvicorn for `wire/server.py`.

uvicorn has no limit for headers that never end, for bodies that hardly move, or for chunks; and answers what it cannot
parse in plain text. Times are watched by one `Watch` for all connections, so that a request costs no timer.
"""

import asyncio
import logging
import re
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from moorage.api.limits import RequestLimits
from moorage_predictor.errors import (
    BodyTimeout,
    HeadersTooLarge,
    InvalidInput,
    Overloaded,
    PayloadTooLarge,
    RequestError,
)
from moorage_predictor.wire.http.answers import error_body
from moorage_predictor.wire.http.cycle import Cycle
from moorage_predictor.wire.http.types import ANSWERED_BY, GONE

_log = logging.getLogger(__name__)

_WATCH_S: Final = 0.5
_CHUNK_LINE: Final = 32
"""Bytes that a chunk's own line may take."""
_LEAST_BYTES_PER_S: Final = 1024
_MOST_PIPELINED: Final = 64
"""Requests that may come before the one in work is answered. One read holds thousands, and each takes kilobytes once it is read."""
_VERSIONS: Final = frozenset(("1.0", "1.1"))
_HOST: Final = re.compile(
    rb"""(?: \[ [0-9A-Za-z:.%_~!$&'()*+,;=-]+ \]    # an address of IPv6, or of what comes after it
         | [0-9A-Za-z.%_~!$&'()*+,;=-]* )          # a name, an address of IPv4, or nothing (RFC 3986, 3.2.2)
         (?: : [0-9]* )? [ \t]*""",
    re.VERBOSE,
)
_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class _NoFurtherError(Exception):
    """Ends the parser's work on what has been received: the connection ends with what is in work."""


class LimitedProtocol(HttpToolsProtocol):
    """A connection that keeps to limits. `limits` is set by `limited_protocol`."""

    limits: RequestLimits
    draining = False
    """Of the class: whether each connection ends with its next answer."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_headers = True
        self._in_body = False
        self._header_bytes = 0
        self._chunks = 0
        self._between = 0
        """Bytes received while in a body that were not of the body: sizes of chunks, their extensions, trailers."""
        self._since = self.loop.time()
        """When the headers, or this stretch of the body, began to be waited for."""
        self._last_byte = self._since
        self._stretch_bytes = 0
        self._unsent = 0
        self._unsent_since = self._since
        self._is_last = False
        """Whether the request in work is the last that is answered here; what follows it is not looked at."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """For one too many the connection closes that has been idle the longest, between two requests; if none is, it gets 503."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections and not self._makes_room():
            self._refuse(Overloaded("the server has as many connections as it may; try again"))

    def _makes_room(self) -> bool:
        connections = cast("set[LimitedProtocol]", self.connections)
        idle = [each for each in connections if each.timeout_keep_alive_task and not each.transport.is_closing()]
        if idle:
            min(idle, key=lambda each: each._since).transport.close()
        return bool(idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for the answer any more: what is not computed yet need not be."""
        super().connection_lost(exc)
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            scope = cast(dict[str, Any], cycle.scope)
            if task := scope.get(ANSWERED_BY):
                scope[GONE] = True
                task.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, of several, or of a part of one."""
        if self._ends:
            return
        limits = self.limits
        begins = self._in_headers and not self._header_bytes
        if self._in_headers:
            if begins:
                data = _without_upgrade(data)
            self._header_bytes += len(data)
        elif self._in_body:
            self._between += len(data)
            self._last_byte = self.loop.time()
        super().data_received(data)
        if self._in_headers:
            if self._header_bytes > limits.max_header_bytes:
                self._refuse_headers()
            elif begins and self._header_bytes == len(data) and _has_no_version(data):
                self.send_400_response("")
        elif self._in_body and self._between > limits.max_header_bytes + _CHUNK_LINE * self._chunks:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._ends:
            raise _NoFurtherError
        super().on_message_begin()
        self._since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; or a trailer, which nobody here reads and which may not become a header."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers are there: a task begins, unless there are too many of them."""
        if self._ends:
            return
        if len(self.pipeline) >= _MOST_PIPELINED:
            self.cycle.keep_alive = False  # that one is still answered, and those before it
            self._is_last = True
            return
        if self.parser.should_upgrade():  # the parser would take its body for another protocol
            self._refuse(InvalidInput("expected an HTTP/1.1 request without Upgrade, found one, or CONNECT"))
            return
        limits = self.limits
        self._in_headers = False
        if len(self.headers) > limits.max_headers or (
            self._header_bytes > limits.max_header_bytes
            and sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url)
            > limits.max_header_bytes
        ):
            self._refuse_headers()
            return
        if fault := self._fault():
            self._refuse(InvalidInput(fault))
            return
        self._chunks = self._between = self._stretch_bytes = 0
        self._in_body = True
        self._since = self._last_byte = self.loop.time()
        super().on_headers_complete()
        if self.draining:
            self.cycle.keep_alive = False

    def _fault(self) -> str | None:
        """What RFC 9112 wants refused although it can be read: a proxy may have taken it for another host's, or ended it elsewhere."""
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            return f"expected an HTTP/1.1 request, found HTTP/{version}"
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1:
            if hosts:
                return f"the headers: expected Host once, found {len(hosts)}"
            if version == "1.1":
                return "the headers: expected Host, found none"
        elif not _HOST.fullmatch(hosts[0]):
            return "the headers: expected a host in Host, and perhaps a port, found something else"
        if version == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            return "the headers: expected no Transfer-Encoding in HTTP/1.0, found one"
        return None

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        cycle.__class__ = Cycle  # uvicorn has no setting for it
        super()._start_asgi_task(cycle, app)

    def on_chunk_header(self) -> None:
        """One chunk more; the parser calls this."""
        self._chunks += 1
        if self._chunks > self.limits.max_chunks:
            self._refuse(PayloadTooLarge(f"the body: expected at most {self.limits.max_chunks} chunks"))

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._ends:
            return
        self._between -= len(body)
        self._stretch_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; the next one's headers may follow in the same bytes."""
        self._in_body = False
        self._in_headers = True
        self._header_bytes = 0
        if not self._ends:
            super().on_message_complete()

    @property
    def _ends(self) -> bool:
        return self._is_last or self.transport.is_closing()

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read."""
        self._refuse(InvalidInput("expected an HTTP/1.1 request, found something else"))

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: who asks for another protocol has got HTTP, or been refused."""

    def drain(self) -> None:
        """The answer that is in work is the connection's last. One that is idle may bring one more request."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def cut(self, error: RequestError) -> bool:
        """Close at once, with this answer if none has begun. Whether a request was in work."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.close()
            return False
        scope = cast(dict[str, Any], cycle.scope)
        if not cycle.response_started and not self.pipeline:  # else it would be taken for the answer to another request
            scope["moorage.status"] = error.status
            self.transport.write(_whole_answer(error))
        self.transport.close()
        cycle.disconnected = True
        cycle.message_event.set()
        if task := scope.get(ANSWERED_BY):
            scope[GONE] = True
            task.cancel()
        return True

    def check(self, now: float) -> None:
        """Close the connection if it has taken too long. Called twice a second."""
        transport = self.transport
        limits, latest = self.limits, now + _WATCH_S  # the next look would come too late
        unsent = transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._unsent_since = now
        self._unsent = unsent
        if latest - self._unsent_since > limits.body_timeout_s:
            transport.abort()  # it does not read what it asked for
        elif transport.is_closing() or self.pipeline:
            return
        elif self._in_body:
            self._check_body(latest)
        elif self._waits_for_headers and latest - self._since > limits.header_timeout_s:
            transport.close()

    def _check_body(self, latest: float) -> None:
        grace = self.limits.body_timeout_s
        stretch = latest - self._since
        if latest - self._last_byte > grace or (stretch > grace and self._stretch_bytes < _LEAST_BYTES_PER_S * grace):
            cast(dict[str, Any], self.scope)["moorage.status"] = BodyTimeout.status
            self._refuse(BodyTimeout(f"the body: expected it whole, or 1 KiB/s of it in each {grace:g} s"))
        elif stretch > grace:
            self._since, self._stretch_bytes = latest, 0

    @property
    def _waits_for_headers(self) -> bool:
        """Neither at work on a request, nor idle between two (which uvicorn's own timer ends)."""
        at_work = self.cycle is not None and not self.cycle.response_complete
        return self._in_headers and not at_work and self.timeout_keep_alive_task is None

    def _refuse_headers(self) -> None:
        limits = self.limits
        self._refuse(
            HeadersTooLarge(f"the headers: expected at most {limits.max_headers} and {limits.max_header_bytes} bytes")
        )

    def _refuse(self, error: RequestError) -> None:
        """Answer outside of the application, and close: unless an answer is under way, or still to come for a request
        that was sent before this one, which would be taken for it."""
        if self._ends:
            return
        cycle = self.cycle
        at_work = cycle is not None and not cycle.response_complete
        ours_to_answer = not self.pipeline and (
            not cycle.response_started if at_work and self._in_body else not at_work
        )
        if ours_to_answer:
            self.transport.write(_whole_answer(error))
        elif at_work and not self._in_body and not self.pipeline:
            cycle.keep_alive = False  # the request before this one gets its answer, then the connection ends
            self._is_last = True
            return
        self.transport.close()
        if at_work:
            cycle.disconnected = True
            cycle.message_event.set()


def _without_upgrade(data: bytes) -> bytes:
    """The beginning of a request, which asks for no other protocol: there is none, and the parser would not read its body. A head that
    comes in parts keeps its header, and is refused."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or data.find(b"pgrade", 0, end) < 0:
        return data
    return _UPGRADE.sub(b"\r\nx-upgrade:", data[:end]) + data[end:]


def _has_no_version(data: bytes) -> bool:
    """Whether this beginning of a request is HTTP/0.9's, which is one line: the parser would wait for its headers."""
    if data[:1] in (b"\r", b"\n"):  # empty lines before a request count for nothing
        data = data.lstrip(b"\r\n")
    end = data.find(b"\n")
    return end >= 0 and data.find(b" HTTP/", 0, end) < 0


def _whole_answer(error: RequestError) -> bytes:
    """Outside of the application; the connection ends with it."""
    body = error_body(str(error), error.code)
    retry = b"retry-after: 1\r\n" if error.status == 503 else b""
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[error.status] + retry + head + body


def limited_protocol(limits: RequestLimits) -> type[LimitedProtocol]:
    """The class that uvicorn makes connections of."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits})


async def watch(connections: set[Any]) -> None:
    """Check every connection twice a second, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_WATCH_S)
        now = loop.time()
        for connection in list(connections):
            try:
                connection.check(now)
            except Exception:  # noqa: BLE001 - one connection's trouble must not end the watch over all
                _log.exception("a connection was not checked")
