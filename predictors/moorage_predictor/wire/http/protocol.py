"""One HTTP connection: uvicorn's own protocol, within the limits of `RequestLimits`. Made by uvicorn for `wire/server.py`.

uvicorn has no limit for headers that never end, for bodies that hardly move, or for chunks; and answers what it cannot
parse in plain text. Times are watched by one `Watch` for all connections, so that a request costs no timer.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from moorage.api.limits import RequestLimits
from moorage_predictor.wire.http.answers import error_body

_WATCH_S: Final = 0.5
_LEAST_BYTES_PER_S: Final = 1024


class LimitedProtocol(HttpToolsProtocol):
    """A connection that keeps to limits. `limits` is set by `limited_protocol`."""

    limits: RequestLimits

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_headers = True
        self._header_bytes = 0
        self._chunks = 0
        self._since = self.loop.time()
        """When the headers, or the body, began to be waited for."""
        self._last_byte = self._since
        self._body_bytes = 0
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Too many connections get 503 and are closed."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "the server has as many connections as it may; try again", "SERVER_OVERLOADED")

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, of several, or of a part of one."""
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._header_bytes += len(data)
        elif self._in_body:
            self._last_byte = self.loop.time()
        super().data_received(data)
        if self._in_headers and self._header_bytes > self.limits.max_header_bytes:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """The headers are there: a task begins, unless there are too many of them."""
        limits = self.limits
        self._in_headers = False
        if len(self.headers) > limits.max_headers or (
            self._header_bytes > limits.max_header_bytes
            and sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url)
            > limits.max_header_bytes
        ):
            self._refuse_headers()
            return
        if not any(name == b"host" for name, _ in self.headers) and self.parser.get_http_version() == "1.1":
            self._refuse(400, "the headers: expected Host, found none", "INVALID_ARGUMENT")
            return
        self._chunks = self._body_bytes = 0
        self._in_body = True
        self._since = self._last_byte = self.loop.time()
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """One chunk more; the parser calls this."""
        self._chunks += 1
        if self._chunks > self.limits.max_chunks:
            self._refuse(413, f"the body: expected at most {self.limits.max_chunks} chunks", "RESOURCE_EXHAUSTED")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self.transport.is_closing():
            return
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole; the next one's headers may follow in the same bytes."""
        self._in_body = False
        self._in_headers = True
        self._header_bytes = 0
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read."""
        if not self.transport.is_closing():
            self._refuse(400, "expected an HTTP/1.1 request, found something else", "INVALID_ARGUMENT")

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: a client that asks for another protocol gets HTTP."""

    def check(self, now: float) -> None:
        """Close the connection if it has taken too long. Called twice a second."""
        limits = self.limits
        if self.transport is None or self.transport.is_closing():
            return
        if self._in_body:
            grace = limits.body_timeout_s
            latest = now + _WATCH_S  # the next look would come too late
            if latest - self._last_byte > grace or latest - self._since > grace + self._body_bytes / _LEAST_BYTES_PER_S:
                cast(dict[str, Any], self.scope)["moorage.status"] = 408
                self._refuse(
                    408,
                    f"the body: expected it whole, or at least 1 KiB/s of it after {grace:g} s",
                    "DEADLINE_EXCEEDED",
                )
        elif self._waits_for_headers and now + _WATCH_S - self._since > limits.header_timeout_s:
            self.transport.close()

    @property
    def _waits_for_headers(self) -> bool:
        """Neither at work on a request, nor idle between two (which uvicorn's own timer ends)."""
        at_work = self.cycle is not None and not self.cycle.response_complete
        return self._in_headers and not at_work and self.timeout_keep_alive_task is None

    def _refuse_headers(self) -> None:
        limits = self.limits
        self._refuse(
            431,
            f"the headers: expected at most {limits.max_headers} lines and {limits.max_header_bytes} bytes",
            "HEADERS_TOO_LARGE",
        )

    def _refuse(self, status: int, text: str, code: str) -> None:
        """Answer outside of the application, if it has not begun to, and close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = error_body(text, code)
            retry = b"retry-after: 1\r\n" if status == 503 else b""
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + retry + head + body)
        self.transport.close()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()


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
            connection.check(now)
