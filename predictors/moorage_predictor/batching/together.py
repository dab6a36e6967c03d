"""The parts of one request, which fails as a whole. Called by the tasks' stages."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def all_of(parts: Sequence[Awaitable[T]]) -> list[T]:
    """All results, in order; when one fails, or nobody waits any more, the others are no longer wanted."""
    futures = [asyncio.ensure_future(part) for part in parts]
    try:
        return await asyncio.gather(*futures)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
