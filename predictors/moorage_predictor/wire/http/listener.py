"""uvicorn's server on sockets that are open already. Made by `wire/server.py`, which starts and stops it."""

import asyncio
import contextlib
import socket
import weakref
from collections.abc import Callable, Generator
from typing import Any, Final, cast

import uvicorn

_GOODBYE_S: Final = 1.0
"""How long a client may take to answer TLS's last word; one whose connection is idle does not read it. asyncio's half minute
would keep the process."""


class _Handshake(asyncio.Protocol):
    """A connection while TLS begins, of whose end nobody is told before TLS has begun. It has no part in a reference cycle, so
    that with uvloop it is gone as soon as the connection is; asyncio's own loop may hold it longer."""

    __slots__ = ("__weakref__", "_make", "since")

    def __init__(self, make: Callable[[], asyncio.Protocol], since: float) -> None:
        self._make = make
        self.since = since

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS has begun: from now on it is HTTP."""
        protocol = self._make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class HttpServer(uvicorn.Server):
    """Of one port."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to `runtime`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's own, but for how long TLS may take to begin, a minute there, and to end; and for how many connections may
        be about to begin it: as many as may be open."""
        if (context := self.config.ssl) is None:
            await super().startup(sockets)
            return
        loop, config = asyncio.get_running_loop(), self.config
        limits = cast(Any, config.http_protocol_class).limits
        handshakes: weakref.WeakSet[_Handshake] = weakref.WeakSet()

        def full() -> bool:
            most: int = limits.max_connections
            since = loop.time() - limits.header_timeout_s
            return len(handshakes) > most and sum([each.since > since for each in handshakes]) > most

        cast(Any, context).full = full

        def http() -> asyncio.Protocol:
            make = cast(Any, config.http_protocol_class)
            return cast(asyncio.Protocol, make(config, self.server_state, {}))

        def connection() -> asyncio.Protocol:
            begun = _Handshake(http, loop.time())
            handshakes.add(begun)
            return begun

        self.servers = [
            await loop.create_server(
                connection,
                sock=each,
                ssl=context,
                backlog=config.backlog,
                ssl_handshake_timeout=limits.header_timeout_s,
                ssl_shutdown_timeout=_GOODBYE_S,
            )
            for each in sockets or ()
        ]
        self.started = True
