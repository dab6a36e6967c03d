"""Messages that are asked for only once their caller is known. Made by `grpc.py` where callers are judged and grpcio serves.

grpcio takes in the whole message of a method with one message before it calls the method. Of a method with a stream of
messages it takes in no more than HTTP/2's window until somebody reads. On the wire both are the same: so the methods are
declared as streams, and one message is read.

    metadata ──> caller? ── no ──> status, and the stream is reset: what the client still sends goes nowhere
                     ├── yes ──> read() ──> the message, of `--max-body-bytes` at most
                     └── open to all ──> read(), `_MOST_AT_ONCE` in the process: one more ends the oldest ──> `small()`

Whether the server lives and is ready is asked with an empty message, which nobody waits for: see `unary`.
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
_Unary = Callable[[Any, Any], Awaitable[Any]]


class Reading:
    """How long messages may take. Of one server, as it bounds how many of calls that are open to all are read at once."""

    def __init__(self, limits: RequestLimits) -> None:
        self._known_s = limits.message_timeout_s  # grpcio does not tell how far it has come
        self._open: dict[asyncio.Timeout, None] = {}
        """Of messages of calls that are open to all, the oldest first."""

    async def message(self, context: Any, role: Role | None) -> Any:
        """Raises `BodyTimeout` if it did not come in time."""
        within_s = self._known_s if role is not None else OPEN_S
        try:
            async with asyncio.timeout(within_s) as limit:
                return await (context.read() if role is not None else self._among_few(context, limit))
        except TimeoutError:
            raise BodyTimeout(f"expected the whole message within {within_s:g} s") from None

    async def _among_few(self, context: Any, limit: asyncio.Timeout) -> Any:
        """Nobody waits for a place, or whoever sends nothing would keep all others waiting: an honest message comes with its
        headers, and is read before those that come later can end it."""
        if len(self._open) >= _MOST_AT_ONCE:
            oldest = next(iter(self._open))
            del self._open[oldest]
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())
        self._open[limit] = None
        try:
            return await context.read()
        finally:
            self._open.pop(limit, None)


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
    rpc: _Unary,
    serializer: Callable[[Any], bytes] | None,
    role: Role | None,
    reading: Reading | None = None,
    *,
    empty: bool = False,
) -> Any:
    """The handler of a method with one message and one answer. With `reading`, `rpc` gets an `Incoming` instead of bytes;
    an `empty` message says nothing, and is not read: who sends none keeps nothing busy."""
    if reading is None:
        return grpc.unary_unary_rpc_method_handler(rpc, response_serializer=serializer)

    async def call(messages: Any, context: Any) -> Any:
        return await rpc(b"" if empty else Incoming(context, role, reading), context)

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
