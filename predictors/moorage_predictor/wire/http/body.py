"""The body of a request, within its limits: refused as soon as it is known to be too long. Called by `inference.py`.

That it comes in time is watched by `protocol.py`, for all connections at once.
"""

import asyncio
import contextlib
import zlib
from typing import Final

from moorage.api.limits import RequestLimits
from moorage_predictor.errors import InvalidInput, Overloaded, PayloadTooLarge, UnsupportedEncoding
from moorage_predictor.wire.http.answers import CLIENT_GONE, ClientGoneError
from moorage_predictor.wire.http.types import Headers, Receive, Scope

Body = bytes | bytearray

_LINGER_S: Final = 2.0
_THREAD_ABOVE: Final = 64 * 1024
"""Compressed bytes; more are inflated in a thread, so that nobody else waits."""
_ENCODINGS: Final = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}
"""Window bits for zlib. Some clients send deflate without zlib's header, against the standard."""


class BodyReader:
    """One process's; it knows how much all bodies hold together."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, scope: Scope, headers: Headers, receive: Receive) -> Body:
        """The whole body, inflated.

        Raises:
            PayloadTooLarge: more bytes than a limit, announced, received or inflated.
            UnsupportedEncoding: compressed in a way that is not known here.
            InvalidInput: damaged compressed data.
            Overloaded: all bodies together hold as much as they may.
            ClientGoneError: it did not come, or not in time.
        """
        encoding = headers.get("content-encoding")
        if encoding is not None and (encoding := encoding.lower()) != "identity" and encoding not in _ENCODINGS:
            raise UnsupportedEncoding(f"content-encoding: expected gzip or deflate, found {encoding[:40]}")
        announced = headers.get("content-length")
        if announced is not None and int(announced) > self._limits.max_body_bytes:
            raise self._too_large(announced)
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError(scope.get("moorage.status", CLIENT_GONE))
        body: Body = message["body"]
        if message["more_body"]:
            body = await self._rest(scope, body, announced, receive)
        elif len(body) > self._limits.max_body_bytes:
            raise self._too_large(str(len(body)))
        scope["moorage.body_read"] = True
        if encoding is None or encoding == "identity":
            return body
        if len(body) < _THREAD_ABOVE:
            return self._inflate(body, encoding)
        return await asyncio.to_thread(self._inflate, body, encoding)

    async def _rest(self, scope: Scope, first: Body, announced: str | None, receive: Receive) -> bytearray:
        limit = self._limits.max_body_bytes
        # Zeroed memory costs nothing until it is written; and a body that is known is copied once only.
        body, size, held = bytearray(int(announced or 0)), 0, 0
        chunk, more = first, True
        try:
            while True:
                end = size + len(chunk)
                if end > limit:
                    raise self._too_large("more")
                held += len(chunk)
                self._held += len(chunk)
                if self._held > self._limits.max_held_bytes:
                    raise Overloaded("the server holds as many bytes of bodies as it may; try again")
                body[size:end] = chunk
                size = end
                if not more:
                    return body if len(body) == size else body[:size]
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGoneError(scope.get("moorage.status", CLIENT_GONE))
                chunk, more = message["body"], message["more_body"]
        finally:
            self._held -= held

    def _inflate(self, body: Body, encoding: str) -> bytes:
        limit = self._limits.max_inflated_bytes
        for bits in _ENCODINGS[encoding]:
            inflater = zlib.decompressobj(bits)
            try:
                inflated = inflater.decompress(body, limit + 1)
            except zlib.error:
                continue
            if len(inflated) > limit:
                raise PayloadTooLarge(
                    f"the body: expected at most {limit} bytes after {encoding} is undone, found more"
                )
            if not inflater.eof or inflater.unused_data:
                break
            return inflated
        raise InvalidInput(f"the body: expected {encoding} data as content-encoding says, found something else")

    def _too_large(self, found: str) -> PayloadTooLarge:
        return PayloadTooLarge(f"the body: expected at most {self._limits.max_body_bytes} bytes, found {found[:20]}")


async def discard(receive: Receive) -> None:
    """Take in what still comes, for at most two seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while (message := await receive())["type"] == "http.request" and message["more_body"]:
                pass
