"""Messages that are asked for only once their caller is known. Made by `grpc.py` where callers are judged and grpcio serves.

grpcio takes in the whole message of a method with one message before it calls the method. Of a method with a stream of
messages it takes in no more than HTTP/2's window until somebody reads. On the wire both are the same: so the methods are
declared as streams, and one message is read.

    metadata ──> caller? ── no ──> status, and the stream is reset: what the client still sends goes nowhere
                     ├── yes ──> read() ──> the message, of `--max-body-bytes` at most
                     └── open to all ──> read(), `_MOST_AT_ONCE` in the process ──> `small()`
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

import grpc
from grpc import aio

from moorage.access.principal import Role
from moorage.api.limits import RequestLimits
from moorage_predictor.errors import BodyTimeout, InvalidInput, PayloadTooLarge

OPEN_S: Final = 2.0
"""For the message of a call that is open to all: a model's name. Who has no key holds no more memory, and no longer, than what
comes in this time."""
OPEN_BYTES: Final = 64 * 1024
"""Of such a message. It is known once it has come in, because grpcio has one limit for all methods."""
_MOST_AT_ONCE: Final = 8
_TENURE_S: Final = 0.05
"""How long such a message may still take while others wait for its place. An honest one comes with its headers."""
_BYTES_PER_S: Final = 1024 * 1024
"""Of a known caller's message; grpcio does not tell how far it has come."""
_Unary = Callable[[Any, Any], Awaitable[Any]]


class Reading:
    """How long messages may take. Of one server, as there is one room for those of calls that are open to all."""

    def __init__(self, limits: RequestLimits) -> None:
        self._known_s = limits.body_timeout_s + limits.max_body_bytes / _BYTES_PER_S
        self._room = asyncio.Semaphore(_MOST_AT_ONCE)
        self._inside: set[asyncio.Timeout] = set()
        self._waiting = 0

    async def message(self, context: Any, role: Role | None) -> Any:
        """Raises `BodyTimeout` if it did not come in time."""
        within_s = self._known_s if role is not None else OPEN_S
        try:
            async with asyncio.timeout(within_s) as limit:
                return await (context.read() if role is not None else self._in_turn(context, limit))
        except TimeoutError:
            raise BodyTimeout(f"expected the whole message within {within_s:g} s") from None

    async def _in_turn(self, context: Any, limit: asyncio.Timeout) -> Any:
        self._waiting += 1
        try:
            for other in self._inside if self._room.locked() else ():
                _hurry(other)
            await self._room.acquire()
        finally:
            self._waiting -= 1
        self._inside.add(limit)
        try:
            if self._waiting:
                _hurry(limit)
            return await context.read()
        finally:
            self._inside.discard(limit)
            self._room.release()


def _hurry(limit: asyncio.Timeout) -> None:
    soon = asyncio.get_running_loop().time() + _TENURE_S
    if not limit.expired() and (limit.when() or soon) > soon:
        limit.reschedule(soon)


class Incoming:
    """The message of one call."""

    __slots__ = ("_context", "_reading", "_role", "_size")

    def __init__(self, context: Any, role: Role | None, reading: Reading) -> None:
        """`role` is what the method needs; None: it is open to all."""
        self._context = context
        self._role = role
        self._reading = reading
        self._size = 0

    def __len__(self) -> int:
        """Bytes that were read."""
        return self._size

    async def read(self) -> bytes:
        """The message; once.

        Raises:
            BodyTimeout: it did not come in time.
            InvalidInput: the client sends none.
        """
        message = await self._reading.message(self._context, self._role)
        if message is aio.EOF:
            raise InvalidInput("expected one message, found none")
        self._size = len(message)
        whole: bytes = message
        return whole


async def small(request: bytes | Incoming) -> bytes:
    """The message of a call that is open to all, whichever way it comes.

    Raises:
        PayloadTooLarge: it has more than a name.
    """
    message = request if isinstance(request, bytes) else await request.read()
    if len(message) > OPEN_BYTES:
        raise PayloadTooLarge(f"the message: expected at most {OPEN_BYTES} bytes, found {len(message)}")
    return message


def unary(
    rpc: _Unary, serializer: Callable[[Any], bytes] | None, role: Role | None, reading: Reading | None = None
) -> Any:
    """The handler of a method with one message and one answer. With `reading`, `rpc` gets an `Incoming` instead of bytes."""
    if reading is None:
        return grpc.unary_unary_rpc_method_handler(rpc, response_serializer=serializer)

    async def call(messages: Any, context: Any) -> Any:
        return await rpc(Incoming(context, role, reading), context)

    return grpc.stream_unary_rpc_method_handler(call, response_serializer=serializer)


def unary_stream(
    rpc: Callable[[Any, Any], AsyncGenerator[bytes, None]], role: Role | None, reading: Reading | None = None
) -> Any:
    """The same of a method with one message and many answers."""
    if reading is None:
        return grpc.unary_stream_rpc_method_handler(rpc)

    async def call(messages: Any, context: Any) -> AsyncGenerator[bytes, None]:
        async with aclosing(rpc(Incoming(context, role, reading), context)) as answers:
            async for answer in answers:
                yield answer

    return grpc.stream_stream_rpc_method_handler(call)
