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
from pathlib import Path
from typing import Any, Final

from moorage.access.limits import PEER
from moorage.api.limits import RequestLimits

_PREFACE: Final = 24
_HEAD: Final = 9
_DATA, _HEADERS, _RST_STREAM, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0x0, 0x1, 0x3, 0x7, 0x8, 0x9
_END_STREAM, _END_HEADERS, _PADDED = 0x1, 0x4, 0x8
_NO_ERROR, _CANCEL = 0x0, 0x8
_RESOURCE_EXHAUSTED: Final = b"8"
_PREFIX: Final = 5
"""Bytes before a gRPC message: compressed or not, and its length."""
_MOST_COMPRESSED: Final = 16 * 1024
"""Bytes of a compressed message as it comes. It may be a thousand times larger when it is inflated, which nobody bounds."""
_MOST_REFUSED: Final = 64
"""Streams whose rest may still come. Of more, the oldest are forgotten."""
_MOST_UNFINISHED: Final = 8192
"""Messages on one connection: more than the streams that the server inside lets it have."""
_MOST_UNREAD: Final = 1024 * 1024
"""Bytes that a client has been sent and does not read. What comes from inside is held back long before."""
_STREAM: Final = 0x7FFF_FFFF
"""A stream's number; the bit before it means nothing."""
_LONGEST: Final = 64
"""Bytes of an address: more than any has."""
_POLL_S: Final = 0.02
_LAST_WORDS_S: Final = 1.0
_CONNECT_S: Final = 5.0


class Guard:
    """Stands before one server; has its methods as far as `server.py` calls them."""

    def __init__(self, server: Any, limits: RequestLimits, *, share_port: bool) -> None:
        self._server = server
        self.limits = limits
        self._share_port = share_port
        self._folder = tempfile.mkdtemp(prefix="grpc-")
        self.path = str(Path(self._folder) / "socket")
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Server | None = None
        self.connections: set[_Client] = set()

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

    async def stop(self, grace: float | None) -> None:
        """No new connections; calls in work get so many seconds."""
        if self._accepting:
            self._accepting.close()
        await self._server.stop(grace)
        until = asyncio.get_running_loop().time() + _LAST_WORDS_S
        # Each ends when what the server inside has sent is on its way.
        while self.connections and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_POLL_S)
        for connection in list(self.connections):
            connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Frames:
    """Where one direction of a connection is: inside a frame, or how far into the nine bytes before one."""

    __slots__ = ("head", "left")

    def __init__(self, first: int) -> None:
        self.left = first
        """Bytes that belong to what came before: a frame's payload, or the preface."""
        self.head = b""


class _Client(asyncio.Protocol):
    """One connection from outside."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.transport: asyncio.Transport
        self._inside: _Inside | None = None
        self._early = b""
        self._frames = _Frames(_PREFACE)
        self._drops = False
        """Whether the payload that comes is of a stream that was refused."""
        self._header_bytes = 0
        self.address = b""
        """A literal of HPACK."""
        self._after = b""
        """What follows the frame that comes."""
        self._counted: dict[int, tuple[int, int]] = {}
        """Of each message that is not whole, the bytes so far and at most."""
        self._refused: dict[int, None] = {}
        """In the order of refusal."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is read before the server inside has been reached."""
        self.transport = transport  # type: ignore[assignment]
        self.address = _address(transport)
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
                _, self._inside = await loop.create_unix_connection(lambda: _Inside(self), self._guard.path)
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
            missing = _HEAD - len(frames.head)
            frames.head += data[at : at + missing]
            at += missing
            if len(frames.head) == _HEAD:
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
        size, stream, ends = self._frames.left, int.from_bytes(head[5:], "big") & _STREAM, head[4] & _END_STREAM
        if kind != _DATA:
            return self._begin_other(kind, stream, size, head)
        if stream in self._refused:
            self._drop(size)
            if ends:
                del self._refused[stream]
            return []
        so_far, most = self._counted.pop(stream, (0, self._guard.limits.max_body_bytes))
        stated = 0
        if size and not so_far:
            if data[at] or head[4] & _PADDED:
                most = min(most, _MOST_COMPRESSED)
            elif size >= _PREFIX:
                stated = int.from_bytes(data[at + 1 : at + _PREFIX], "big")  # if it is cut off, less than is true
        so_far += size
        if so_far > most + _PREFIX or stated > most:
            self._drop(size)
            compressed = "compressed " if most == _MOST_COMPRESSED else ""
            self._refuse(stream, f"the message: expected at most {most} {compressed}bytes, found more")
            if not ends:
                self._refused[stream] = None
            if len(self._refused) > _MOST_REFUSED:
                del self._refused[next(iter(self._refused))]
            return [_frame(_RST_STREAM, 0, stream, _CANCEL.to_bytes(4, "big"))]
        if not ends:
            self._counted[stream] = so_far, most
            if len(self._counted) > _MOST_UNFINISHED:
                self.close()
        return [head]

    def _drop(self, size: int) -> None:
        self._drops = True
        if size and self._inside:  # or the client's window for the whole connection would shrink
            self._inside.insert(_frame(_WINDOW_UPDATE, 0, 0, size.to_bytes(4, "big")))

    def _begin_other(self, kind: int, stream: int, size: int, head: bytes) -> list[bytes]:
        if kind in (_HEADERS, _CONTINUATION):
            self._header_bytes = size + (self._header_bytes if kind == _CONTINUATION else 0)
            if self._header_bytes > (most := self._guard.limits.max_header_bytes):
                self._refuse(stream, f"the metadata: expected at most {most} bytes, found more")
                # Headers that the server inside did not see would make it misread all later ones.
                self._go_away(stream)
            elif head[4] & _END_HEADERS:
                self._after = _frame(_CONTINUATION, _END_HEADERS, stream, self.address)
                return [head[:4] + bytes([head[4] & ~_END_HEADERS]) + head[5:]]
        elif kind == _RST_STREAM:
            self._counted.pop(stream, None)
            if stream in self._refused:
                del self._refused[stream]
                self._drops = True
                return []
        return [head]

    def _go_away(self, last: int) -> None:
        if self._inside:
            self._inside.insert(_frame(_GOAWAY, 0, 0, struct.pack(">II", last, _NO_ERROR)))
        self.close()

    def ended(self, stream: int) -> None:
        """The server inside has said its last word on a call, perhaps before the message was whole."""
        self._counted.pop(stream, None)

    def _refuse(self, stream: int, text: str) -> None:
        if self._inside:
            self._inside.insert(
                _frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, _trailers(text))
                + _frame(_RST_STREAM, 0, stream, _NO_ERROR.to_bytes(4, "big"))
            )

    def eof_received(self) -> None:
        """A client that sends no more has nothing to be told."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The server inside learns of it."""
        self._guard.connections.discard(self)
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


class _Inside(asyncio.Protocol):
    """The server's end of one connection: what it sends goes out as it is, and our own frames in between."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self.transport: asyncio.Transport
        self._frames = _Frames(0)
        self._ours = bytearray()
        self._between = False
        """Whether a frame of ours may go out now: after the server's first, and not inside a block of headers."""
        self._last = (-1, 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Before the client is read."""
        self.transport = transport  # type: ignore[assignment]

    def insert(self, frames: bytes) -> None:
        """Send frames of ours as soon as may be."""
        transport = self._client.transport
        if len(self._ours) + transport.get_write_buffer_size() > _MOST_UNREAD:
            transport.abort()
        elif self._between:
            transport.write(frames)
        else:
            self._ours += frames

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them, on their way out."""
        frames, at, size = self._frames, 0, len(data)
        while at < size:
            if frames.left:
                step = min(size - at, frames.left)
                frames.left -= step
                at += step
            else:
                missing = _HEAD - len(frames.head)
                frames.head += data[at : at + missing]
                at += missing
                if len(frames.head) == _HEAD:
                    head, frames.head = frames.head, b""
                    frames.left, self._last = int.from_bytes(head[:3], "big"), (head[3], head[4])
                    if head[3] == _RST_STREAM or (head[3] in (_DATA, _HEADERS) and head[4] & _END_STREAM):
                        self._client.ended(int.from_bytes(head[5:], "big") & _STREAM)
            self._between = not frames.left and not frames.head and self._is_whole()
            if self._ours and self._between:
                self._client.transport.write(data[:at] + bytes(self._ours))
                self._ours, data, at, size = bytearray(), data[at:], 0, size - at
        if data:
            self._client.transport.write(data)

    def _is_whole(self) -> bool:
        kind, flags = self._last
        return kind not in (_HEADERS, _CONTINUATION) or bool(flags & _END_HEADERS)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client gets what was sent, and no more."""
        self._client.transport.close()

    def pause_writing(self) -> None:
        """The server is slower than the client."""
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        """It has caught up."""
        if not self._client.transport.is_closing():
            self._client.transport.resume_reading()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _trailers(text: str) -> bytes:
    """A gRPC answer without a message (HPACK, RFC 7541: literals that go into no table, so that both sides' tables stay
    as the server inside believes them to be)."""
    return (
        b"\x88"  # :status 200
        + b"\x0f\x10"  # content-type
        + _string(b"application/grpc")
        + b"\x00"
        + _string(b"grpc-status")
        + _string(_RESOURCE_EXHAUSTED)
        + b"\x00"
        + _string(b"grpc-message")
        + _string(text.encode())
    )


def _address(transport: asyncio.BaseTransport) -> bytes:
    """Of the other end, as a literal that goes into no table either."""
    from moorage.access.limits.addresses import vouched

    host: str = (transport.get_extra_info("peername") or ("",))[0]
    return b"\x00" + _string(PEER.encode()) + _string(vouched(host.removeprefix("::ffff:")[:_LONGEST]).encode())


def _string(text: bytes) -> bytes:
    return bytes([len(text)]) + text  # all of ours are shorter than 127 bytes: see `_LONGEST`
