"""The same door for gRPC: a service asks it with the metadata of a call, once for the caller and once more when the message
has said which model is meant.
"""

from collections.abc import Iterable
from typing import Any

from moorage.access.errors import AccessError
from moorage.access.gate import Gate
from moorage.access.principal import ANONYMOUS, Principal, Role


class Door:
    """Of one service."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._names = frozenset((gate.key_header.decode(), "authorization"))
        self.permit = gate.permit

    async def caller(self, metadata: Iterable[tuple[str, Any]] | None, role: Role | None) -> Principal:
        """Who calls a method that needs `role`; None is open to all.

        Raises:
            AccessError: as `Gate.authenticate` and `Gate.permit`.
        """
        names = self._names
        headers = [(name.encode(), value.encode()) for name, value in metadata or () if name in names]
        principal = self._gate.known(headers)
        if principal is None:
            try:
                principal = await self._gate.authenticate(headers)
            except AccessError:
                if role is not None:
                    raise
                return ANONYMOUS
        if role is not None:
            self.permit(principal, role, None)
        return principal

    def without_credentials(self, metadata: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Metadata as models get it."""
        names = self._names
        return [pair for pair in metadata if pair[0] not in names]
