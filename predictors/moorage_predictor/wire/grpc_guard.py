"""The door of the native gRPC server: counts the bytes of each message while they come in, and refuses what is too large.
Made by `grpc.py` for `--grpc-server=native`, which reads a message of any size into memory, and inflates it, before it
looks at its length.

    client <──> Guard (public port) <──> native server (Unix socket in a folder of this process)

Of HTTP/2 (RFC 9113) it reads the nine bytes before each frame and nothing else; what it writes itself are five kinds:
a refusal that ends one stream, RST_STREAM, WINDOW_UPDATE for the bytes that it drops, GOAWAY, and CONTINUATION: after each
block of headers the address that it comes from, which the server inside could not know, with a proof that the guard said it.
"""

import asyncio
import shutil
import socket
import struct
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from moorage.api.limits import RequestLimits
from moorage_predictor.wire.grpc_frames import (
    CONTINUATION,
    DATA,
    DEADLINE_EXCEEDED,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD,
    HEADERS,
    NO_ERROR,
    PADDED,
    RESOURCE_EXHAUSTED,
    RST_STREAM,
    STREAM,
    UNAVAILABLE,
    WINDOW_UPDATE,
    Frames,
    address_of,
    frame,
    refusal,
    reset,
)
from moorage_predictor.wire.grpc_inside import Inside

_PREFACE: Final = 24
_PREFIX: Final = 5
"""Bytes before a gRPC message: compressed or not, and its length."""
_MOST_COMPRESSED: Final = 16 * 1024
"""Bytes of a compressed message as it comes. It may be a thousand times larger when it is inflated, which nobody bounds."""
_MOST_REFUSED: Final = 64
"""Streams whose rest may still come. Of more, the oldest are forgotten."""
_MOST_UNFINISHED: Final = 8192
"""Messages on one connection: more than the streams that the server inside lets it have."""
_POLL_S: Final = 0.02
_LAST_WORDS_S: Final = 1.0
_CONNECT_S: Final = 5.0
_LOOK_S: Final = 1.0
_IN_A_FRAME_S: Final = 10.0
"""How much longer a late message may take whose client has stopped in the middle of a frame: only its connection can end it then."""


class Guard:
    """Stands before one server; has its methods as far as `server.py` calls them."""

    def __init__(self, server: Any, limits: RequestLimits, *, share_port: bool) -> None:
        self._server = server
        self.limits = limits
        self._share_port = share_port
        self._folder = self.path = ""
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None
        self.connections: set[_Client] = set()
        self.unfinished = 0
        """Bytes of all messages that are not whole."""

    def add_insecure_port(self, address: str) -> int:
        """Bind `host:port`; the port.

        Raises:
            RuntimeError: it is taken, as grpcio says it.
        """
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._share_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            listener.bind((host.strip("[]"), int(port)))
            listener.listen(socket.SOMAXCONN)
        except OSError as error:
            listener.close()
            raise RuntimeError(f"cannot bind {address}") from error
        listener.setblocking(False)
        self._listener = listener
        self._folder = tempfile.mkdtemp(prefix="grpc-")
        self.path = str(Path(self._folder) / "socket")
        self._server.add_insecure_port(f"unix:{self.path}")
        bound: int = listener.getsockname()[1]
        return bound

    async def start(self) -> None:
        """Answer from now on."""
        if self._listener is None:
            raise RuntimeError("expected add_insecure_port() before start()")
        await self._server.start()
        Path(self.path).chmod(0o600)  # noqa: ASYNC240 - once; beside the folder, which is this process's own
        self._accepting = await asyncio.get_running_loop().create_server(lambda: _Client(self), sock=self._listener)
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """End messages that take too long, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for connection in list(self.connections):
                connection.end_late(time.monotonic() - self.limits.message_timeout_s)

    async def stop(self, grace: float | None) -> None:
        """No new connections; calls in work get so many seconds."""
        if self._accepting:
            self._accepting.close()
        await self._server.stop(grace)
        until = asyncio.get_running_loop().time() + _LAST_WORDS_S
        # Each ends when what the server inside has sent is on its way.
        while self.connections and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_POLL_S)
        if self._watching:
            self._watching.cancel()
        for connection in list(self.connections):
            connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Client(asyncio.Protocol):
    """One connection from outside."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.transport: asyncio.Transport
        self._inside: Inside | None = None
        self._early = b""
        self._frames = Frames(_PREFACE)
        self._drops = False
        """Whether the payload that comes is of a stream that was refused."""
        self._header_bytes = 0
        self._headers_go_on = False
        """Whether nothing may come between the last frame and the next."""
        self.address = b""
        """A literal of HPACK."""
        self._after = b""
        """What follows the frame that comes."""
        self._counted: dict[int, tuple[int, int, float]] = {}
        """Of each message that is not whole, the bytes so far and at most, and when it began."""
        self._refused: dict[int, None] = {}
        """In the order of refusal."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is read before the server inside has been reached."""
        self.transport = transport  # type: ignore[assignment]
        self.address = address_of(transport)
        if len(self._guard.connections) >= self._guard.limits.max_connections:
            self.transport.abort()
            return
        self._guard.connections.add(self)
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_S):
                _, self._inside = await loop.create_unix_connection(lambda: Inside(self), self._guard.path)
        except OSError:
            self.transport.abort()
            return
        if self.transport.is_closing():
            self._inside.transport.abort()
            return
        self.transport.resume_reading()
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them, on their way in."""
        inside = self._inside
        if inside is None:  # uvloop reads once although it was told to pause
            self._early += data
            return
        frames, at, size = self._frames, 0, len(data)
        kept: list[bytes] = []
        while at < size and not self.transport.is_closing():
            if frames.left:
                end = min(size, at + frames.left)
                if not self._drops:
                    kept.append(data[at:end] if at or end < size else data)
                frames.left -= end - at
                at = end
                if self._after and not frames.left:
                    kept.append(self._after)
                    self._after = b""
                continue
            self._drops = False
            missing = HEAD - len(frames.head)
            frames.head += data[at : at + missing]
            at += missing
            if len(frames.head) == HEAD:
                length = int.from_bytes(frames.head[:3], "big")
                if length and at == size:
                    break  # a message is judged by its first byte
                head, frames.head, frames.left = frames.head, b"", length
                kept += self._begin(head, data, at)
                if self._after and not length:
                    kept.append(self._after)
                    self._after = b""
        inside.transport.writelines(kept)

    def _begin(self, head: bytes, data: bytes, at: int) -> list[bytes]:
        """What goes in of a frame's head: itself, or what stands for it."""
        kind = head[3]
        size, stream, ends = self._frames.left, int.from_bytes(head[5:], "big") & STREAM, head[4] & END_STREAM
        if kind != DATA:
            return self._begin_other(kind, stream, size, head)
        if stream in self._refused:
            self._drop(size)
            if ends:
                del self._refused[stream]
            return []
        limits = self._guard.limits
        so_far, most, since = self._forget(stream) or (0, limits.max_body_bytes, 0.0)
        stated = 0
        if size and not so_far:
            if data[at] or head[4] & PADDED:
                most = min(most, _MOST_COMPRESSED)
            elif size >= _PREFIX:
                stated = int.from_bytes(data[at + 1 : at + _PREFIX], "big")  # if it is cut off, less than is true
        so_far += size
        if so_far > most + _PREFIX or stated > most:
            compressed = "compressed " if most == _MOST_COMPRESSED else ""
            text = f"the message: expected at most {most} {compressed}bytes, found more"
            return self._end(stream, RESOURCE_EXHAUSTED, text, size, ends=ends)
        if not ends:
            if self._guard.unfinished + so_far > limits.max_held_bytes:
                text = "the server holds as many bytes of messages as it may; try again"
                return self._end(stream, UNAVAILABLE, text, size, ends=ends)
            self._counted[stream] = so_far, most, since or time.monotonic()
            self._guard.unfinished += so_far
            if len(self._counted) > _MOST_UNFINISHED:
                self.close()
        return [head]

    def _end(self, stream: int, status: bytes, text: str, size: int, *, ends: int) -> list[bytes]:
        """Refuse the rest of a stream, beginning with the payload that comes, of this size; what goes in instead."""
        self._drop(size)
        self._refuse(stream, status, text)
        if not ends:
            self._refused[stream] = None
        if len(self._refused) > _MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        return [reset(stream)]

    def _forget(self, stream: int) -> tuple[int, int, float] | None:
        found = self._counted.pop(stream, None)
        if found is not None:
            self._guard.unfinished -= found[0]
        return found

    def end_late(self, before: float) -> None:
        """End the messages that began before that, by `time.monotonic()`."""
        for stream, (_, _, since) in list(self._counted.items()):
            if since >= before or self._inside is None:
                continue
            if not self._frames.left and not self._headers_go_on:
                self._forget(stream)
                text = f"expected the whole message within {self._guard.limits.message_timeout_s:g} s"
                self._inside.transport.writelines(self._end(stream, DEADLINE_EXCEEDED, text, 0, ends=0))
                self._drops = False
            elif since < before - _IN_A_FRAME_S:
                self.close()

    def _drop(self, size: int) -> None:
        self._drops = True
        if size and self._inside:  # or the client's window for the whole connection would shrink
            self._inside.insert(frame(WINDOW_UPDATE, 0, 0, size.to_bytes(4, "big")))

    def _begin_other(self, kind: int, stream: int, size: int, head: bytes) -> list[bytes]:
        if kind in (HEADERS, CONTINUATION):
            self._header_bytes = size + (self._header_bytes if kind == CONTINUATION else 0)
            self._headers_go_on = not head[4] & END_HEADERS
            if self._header_bytes > (most := self._guard.limits.max_header_bytes):
                self._refuse(stream, RESOURCE_EXHAUSTED, f"the metadata: expected at most {most} bytes, found more")
                # Headers that the server inside did not see would make it misread all later ones.
                self._go_away(stream)
            elif head[4] & END_HEADERS:
                self._after = frame(CONTINUATION, END_HEADERS, stream, self.address)
                return [head[:4] + bytes([head[4] & ~END_HEADERS]) + head[5:]]
        elif kind == RST_STREAM:
            self._forget(stream)
            if stream in self._refused:
                del self._refused[stream]
                self._drops = True
                return []
        return [head]

    def _go_away(self, last: int) -> None:
        if self._inside:
            self._inside.insert(frame(GOAWAY, 0, 0, struct.pack(">II", last, NO_ERROR)))
        self.close()

    def ended(self, stream: int) -> None:
        """The server inside has said its last word on a call, perhaps before the message was whole."""
        self._forget(stream)

    def _refuse(self, stream: int, status: bytes, text: str) -> None:
        if self._inside:
            self._inside.insert(refusal(stream, status, text))

    def eof_received(self) -> None:
        """A client that sends no more has nothing to be told."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The server inside learns of it."""
        self._guard.connections.discard(self)
        for stream in list(self._counted):
            self._forget(stream)
        if self._inside:
            self._inside.transport.abort()

    def pause_writing(self) -> None:
        """The client does not read what it asked for."""
        if self._inside:
            self._inside.transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        if self._inside:
            self._inside.transport.resume_reading()

    def close(self) -> None:
        """From our side."""
        self.transport.close()
