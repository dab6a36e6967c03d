"""The inner half of `grpc_guard.py`: the connection to the native server, one for each client's."""

import asyncio
from typing import TYPE_CHECKING, Final

from moorage_predictor.wire.grpc_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEADERS,
    RST_STREAM,
    STREAM,
    Frames,
)

if TYPE_CHECKING:
    from moorage_predictor.wire.grpc_guard import _Client

_MOST_UNREAD: Final = 1024 * 1024
"""Bytes that a client has been sent and does not read. What comes from inside is held back long before."""


class Inside(asyncio.Protocol):
    """The server's end of one connection: what it sends goes out as it is, and our own frames in between."""

    def __init__(self, client: "_Client") -> None:
        self._client = client
        self.transport: asyncio.Transport
        self._frames = Frames(0)
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
                missing = HEAD - len(frames.head)
                frames.head += data[at : at + missing]
                at += missing
                if len(frames.head) == HEAD:
                    head, frames.head = frames.head, b""
                    frames.left, self._last = int.from_bytes(head[:3], "big"), (head[3], head[4])
                    if head[3] == RST_STREAM or (head[3] in (DATA, HEADERS) and head[4] & END_STREAM):
                        self._client.ended(int.from_bytes(head[5:], "big") & STREAM)
            self._between = not frames.left and not frames.head and self._is_whole()
            if self._ours and self._between:
                self._client.transport.write(data[:at] + bytes(self._ours))
                self._ours, data, at, size = bytearray(), data[at:], 0, size - at
        if data:
            self._client.transport.write(data)

    def _is_whole(self) -> bool:
        kind, flags = self._last
        return kind not in (HEADERS, CONTINUATION) or bool(flags & END_HEADERS)

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
