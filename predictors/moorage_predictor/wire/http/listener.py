"""uvicorn's server on sockets that are open already. Made by `wire/server.py`, which starts and stops it."""

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any, Final, cast

import uvicorn

_GOODBYE_S: Final = 1.0
"""How long a client may take to answer TLS's last word; one whose connection is idle does not read it. asyncio's half minute
would keep the process."""


class HttpServer(uvicorn.Server):
    """Of one port."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to `runtime`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's own, but for how long TLS may take to begin, a minute there, and to end."""
        if (context := self.config.ssl) is None:
            await super().startup(sockets)
            return
        loop, config = asyncio.get_running_loop(), self.config
        patience_s = cast(Any, config.http_protocol_class).limits.header_timeout_s

        def connection() -> asyncio.Protocol:
            make = cast(Any, config.http_protocol_class)
            return cast(asyncio.Protocol, make(config, self.server_state, {}))

        self.servers = [
            await loop.create_server(
                connection,
                sock=each,
                ssl=context,
                backlog=config.backlog,
                ssl_handshake_timeout=patience_s,
                ssl_shutdown_timeout=_GOODBYE_S,
            )
            for each in sockets or ()
        ]
        self.started = True
