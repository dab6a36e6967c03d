"""Frames of HTTP/2 (RFC 9113): those that `grpc_guard.py` writes itself, and where it is among those that it reads."""

import asyncio
import struct
from typing import Final

from moorage.access.limits import PEER

HEAD: Final = 9
"""Bytes before each frame."""
STREAM: Final = 0x7FFF_FFFF
"""A stream's number; the bit before it means nothing."""
DATA, HEADERS, RST_STREAM, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0x0, 0x1, 0x3, 0x7, 0x8, 0x9
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
NO_ERROR, CANCEL = 0x0, 0x8
DEADLINE_EXCEEDED: Final = b"4"
RESOURCE_EXHAUSTED: Final = b"8"
UNAVAILABLE: Final = b"14"
_LONGEST: Final = 64
"""Bytes of an address: more than any has."""


class Frames:
    """Where one direction of a connection is: inside a frame, or how far into the nine bytes before one."""

    __slots__ = ("head", "left")

    def __init__(self, first: int) -> None:
        self.left = first
        """Bytes that belong to what came before: a frame's payload, or the preface."""
        self.head = b""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def reset(stream: int, code: int = CANCEL) -> bytes:
    """The end of a stream."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def refusal(stream: int, status: bytes, text: str) -> bytes:
    """A gRPC answer without a message, and the stream's end (HPACK, RFC 7541: literals that go into no table, so that both sides'
    tables stay as the server inside believes them to be)."""
    trailers = (
        b"\x88"  # :status 200
        + b"\x0f\x10"  # content-type
        + string(b"application/grpc")
        + b"\x00"
        + string(b"grpc-status")
        + string(status)
        + b"\x00"
        + string(b"grpc-message")
        + string(text.encode())
    )
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, trailers) + reset(stream, NO_ERROR)


def address_of(transport: asyncio.BaseTransport) -> bytes:
    """Of the other end, as a literal that goes into no table either."""
    from moorage.access.limits.addresses import vouched

    host: str = (transport.get_extra_info("peername") or ("",))[0]
    return b"\x00" + string(PEER.encode()) + string(vouched(host.removeprefix("::ffff:")[:_LONGEST]).encode())


def string(text: bytes) -> bytes:
    """A literal of fewer than 127 bytes, as all of ours are."""
    return bytes([len(text)]) + text
