"""Which versions are in memory. Called by `model_repository.py`, and through `OnDemand.wake` by requests.

    a request, a poll or a caller wants a version -> one load at a time -> room is made -> it is loaded

Room is made by unloading those that are idle, the one that was not asked for the longest first. What is in use stays.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from moorage_predictor.errors import Overloaded
from moorage_predictor.wire.on_demand import OnDemand

_log = logging.getLogger(__name__)

_UNBOUNDED: Final = float("inf")


class Resident(NamedTuple):
    """A version in memory."""

    key: str
    used: float
    """When it was last asked for."""
    size_bytes: int
    idle: bool
    """Whether it may be unloaded now."""


def victims(there: Sequence[Resident], size_bytes: int, most: int, most_bytes: float) -> list[Resident] | None:
    """Which to unload, in this order, so that one more version of so many bytes may come; None if that cannot be."""
    left, left_bytes = len(there), sum(one.size_bytes for one in there)
    chosen: list[Resident] = []
    for one in sorted((one for one in there if one.idle), key=lambda one: one.used):
        if left < most and left_bytes + size_bytes <= most_bytes:
            break
        chosen.append(one)
        left, left_bytes = left - 1, left_bytes - one.size_bytes
    return chosen if left < most and left_bytes + size_bytes <= most_bytes else None


class Residence:
    """Of one process."""

    def __init__(
        self,
        everyone: Callable[[], Iterable[OnDemand]],
        stays: Callable[[OnDemand], bool],
        most: int,
        most_bytes: int | None,
    ) -> None:
        """`everyone` gives all versions, `stays` says which must not be unloaded for others."""
        self._everyone = everyone
        self._stays = stays
        self._most = most
        self._most_bytes = _UNBOUNDED if most_bytes is None else most_bytes
        self._turn = asyncio.Lock()
        self._loads: dict[OnDemand, asyncio.Task[None]] = {}

    async def load(self, served: OnDemand, instead_of: OnDemand | None = None) -> None:
        """Have it in memory; who asks while it is being loaded waits for the same load. It goes on when the caller has gone.
        `instead_of` is a version that is no longer needed afterwards: until then both may be there, beyond the limits.

        Raises:
            ModelLoadFailed: it cannot be loaded.
            Overloaded: everything that is in memory is in use.
        """
        task = self._loads.get(served)
        if task is None:
            task = self._loads[served] = asyncio.create_task(self._load(served, instead_of))
            task.add_done_callback(lambda done: self._forget(served, done))
        await asyncio.shield(task)

    def _forget(self, served: OnDemand, done: "asyncio.Task[None]") -> None:
        del self._loads[served]
        if not done.cancelled():
            done.exception()  # perhaps nobody waits any more; it is in the log

    async def _load(self, served: OnDemand, instead_of: OnDemand | None) -> None:
        async with self._turn:
            if served.pipeline is not None:
                return
            if not served.wanted:
                raise served.why_not()  # it was unloaded while it waited for its turn
            roomy = served.folder.size_bytes > self._most_bytes or await self._make_room(served, instead_of)
            await served.load_now()  # says itself that it is too large for any room
        if not roomy and instead_of is not None:
            await instead_of.evict()

    async def _make_room(self, served: OnDemand, instead_of: OnDemand | None) -> bool:
        """Whether the limits are kept; beyond them goes only what comes instead of another."""
        while True:
            there = {f"{one.name}/{one.version}": one for one in self._everyone() if one.pipeline is not None}
            residents = [
                Resident(
                    key, one.used, one.folder.size_bytes, one.idle and one is not instead_of and not self._stays(one)
                )
                for key, one in there.items()
            ]
            chosen = victims(residents, served.folder.size_bytes, self._most, self._most_bytes)
            if chosen is None and instead_of is None:
                raise Overloaded(
                    f"the model {served.name} is not in memory, and the {len(there)} that are there are in use; try again"
                )
            if not chosen:
                return chosen is not None
            victim = there[chosen[0].key]
            _log.info("makes room", extra={"model": victim.name, "version": victim.version, "for": served.name})
            await victim.evict()  # meanwhile another may have come into use: look again
