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
_COUNT_ABOVE: Final = 64 * 1024
"""Smaller bodies that came at once are not worth counting."""
_THREAD_ABOVE: Final = 1024
"""Compressed bytes; more are inflated in a thread, so that nobody else waits: they become up to a thousand times as many."""
_ENCODINGS: Final = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}
"""Window bits for zlib. Some clients send deflate without zlib's header, against the standard."""


class BodyReader:
    """One process's; it knows how much all bodies hold together."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, scope: Scope, headers: Headers, receive: Receive) -> Body:
        """The whole body, inflated. `release` is called once its request is answered.

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
        if message["more_body"] or len(body) > _COUNT_ABOVE:
            self._hold(scope, len(body))
            body = await self._rest(scope, body, message["more_body"], receive)
        elif len(body) > self._limits.max_body_bytes:
            raise self._too_large(str(len(body)))
        scope["moorage.body_read"] = True
        if encoding is None or encoding == "identity":
            return body
        if len(body) < _THREAD_ABOVE:
            inflated = self._inflate(body, encoding)
        else:
            inflated = await asyncio.to_thread(self._inflate, body, encoding)
        self._hold(scope, len(inflated))
        return inflated

    def _hold(self, scope: Scope, size: int) -> None:
        scope["moorage.held"] = scope.get("moorage.held", 0) + size
        self._held += size
        if self._held > self._limits.max_held_bytes:
            raise Overloaded("the server holds as many bytes of bodies as it may; try again")

    def release(self, scope: Scope) -> None:
        """The request is answered, and its body gone."""
        self._held -= scope.pop("moorage.held", 0)

    async def _rest(self, scope: Scope, first: Body, more: bool, receive: Receive) -> Body:
        limit = self._limits.max_body_bytes
        if not more and len(first) <= limit:
            return first
        # Not as large as announced: memory is for what has come.
        body = bytearray(first)
        while len(body) <= limit:
            if not more:
                return body
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGoneError(scope.get("moorage.status", CLIENT_GONE))
            self._hold(scope, len(message["body"]))
            body += message["body"]
            more = message["more_body"]
        raise self._too_large("more")

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
