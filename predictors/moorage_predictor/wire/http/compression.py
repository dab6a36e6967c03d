"""Compressed answers, for clients that accept one coding and nothing else, as Triton's do when told to.

What browsers and HTTP libraries accept by default is no wish: compressing a tensor costs more than sending it.
"""

import asyncio
import zlib
from typing import Any, Final

_LEVEL: Final = 1
_BITS: Final = {"gzip": 31, "deflate": 15}
_THREAD_ABOVE: Final = 64 * 1024


async def compressed(
    parts: list[Any], headers: list[tuple[bytes, bytes]], encoding: str
) -> tuple[list[Any], list[tuple[bytes, bytes]]]:
    """The same answer in one compressed part."""
    large = sum(map(len, parts)) > _THREAD_ABOVE
    body = await asyncio.to_thread(_deflated, parts, encoding) if large else _deflated(parts, encoding)
    return [body], [*headers, (b"content-encoding", encoding.encode()), (b"vary", b"accept-encoding")]


def _deflated(parts: list[Any], encoding: str) -> bytes:
    deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, _BITS[encoding])
    return b"".join([*map(deflater.compress, parts), deflater.flush()])
