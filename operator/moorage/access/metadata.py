"""The same door for gRPC: called by a service's methods with the call's metadata, because neither of the two servers shows
an interceptor the message, which has the model's name.
"""

from collections.abc import Iterable
from typing import Any

from moorage.access.gate import Gate
from moorage.access.principal import Principal


def headers_of(metadata: Iterable[tuple[str, Any]] | None) -> list[tuple[bytes, bytes]]:
    """Metadata as headers; values in bytes are no credentials."""
    return [(name.encode(), value.encode()) for name, value in metadata or () if isinstance(value, str)]


async def caller(gate: Gate, metadata: Iterable[tuple[str, Any]] | None) -> Principal:
    """Who calls.

    Raises:
        Unauthenticated, StoreAway: as `Gate.authenticate`.
    """
    headers = headers_of(metadata)
    return gate.known(headers) or await gate.authenticate(headers)
