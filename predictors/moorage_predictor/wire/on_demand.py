"""A version of a model repository: requests have it loaded, and it is unloaded when others need its room.

request -> OnDemand.wake() -> Residence.load() -> Served.load_now()
                                 └── evict() of another, if there is no room
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from moorage_predictor.errors import DeadlineExceeded, ModelUnavailable, Overloaded, RequestError
from moorage_predictor.storage.versions import VersionFolder
from moorage_predictor.wire.served import UNLOADED, Served

_NOT_YET: Final = "not in memory; the first request loads it"
_RETRY_S: Final = 30.0
"""So long after a load that failed requests do not try it again."""
_POLL_S: Final = 0.02


class OnDemand(Served):
    """One version."""

    version_policy: Mapping[str, Any] = {"all": {}}

    def __init__(
        self,
        name: str,
        version: str,
        folder: VersionFolder,
        *,
        load: "Callable[[OnDemand], Any]",
        load_in_turn: "Callable[[OnDemand], Awaitable[None]]",
        **more: Any,
    ) -> None:
        """`load` gives the model, in a thread; `load_in_turn` makes room and has it loaded; `more` is for `Served`."""
        super().__init__(name, version, load=lambda: load(self), **more)
        self.state, self.reason = "UNAVAILABLE", _NOT_YET
        self.folder = folder
        """Where its files are."""
        self.stale = False
        """Whether they have changed since it was loaded, or could not be."""
        self._load_in_turn = load_in_turn
        self._retry_at = 0.0

    def expect(self) -> None:
        """`admit`, for a request that is not whole yet: it is fine that the model is not in memory.

        Raises:
            RequestError: as `admit`.
        """
        if self.pipeline is not None:
            self.admit()
        elif not self._may_load():
            raise self.why_not()
        elif self.holders >= self.max_pending:
            raise Overloaded(f"the model {self.name} has {self.holders} requests waiting; try again")

    async def wake(self, deadline: float | None) -> "Served":
        """Itself, once it is in memory. Until the caller's next `await` nothing takes it away.

        Raises:
            ModelLoadFailed: it cannot be loaded.
            Overloaded: there is no room for it now, or too many wait.
            DeadlineExceeded: the deadline, of the event loop's clock, passed before. Loading goes on.
        """
        self.expect()
        try:
            with self.held():
                async with asyncio.timeout_at(deadline) as timeout:
                    while self.pipeline is None:
                        if not self._may_load():
                            raise self.why_not()
                        await self._load_in_turn(self)
        except TimeoutError as error:
            if timeout.expired():
                raise DeadlineExceeded from error
            raise
        return self

    def _may_load(self) -> bool:
        if self.draining or not self.wanted:
            return False
        return self.failure is None or time.monotonic() >= self._retry_at

    def allow(self) -> None:
        """Requests may load it again, after an `unload` or a failure."""
        if self.state == "UNAVAILABLE":
            self.reason, self.failure = _NOT_YET, None

    def forbid(self) -> None:
        """Nobody may load it until `allow`: its model was unloaded before this version came."""
        self.reason = UNLOADED

    def why_not(self) -> RequestError:
        """See `Served`."""
        if self.draining or self.state in ("LOADING", "READY") or not self.wanted:
            return super().why_not()
        return self.failure or ModelUnavailable(f"the model {self.name} is {_NOT_YET}")

    async def load_now(self) -> None:
        """See `Served`."""
        self.stale = False
        try:
            await super().load_now()
        finally:
            self._retry_at = time.monotonic() + _RETRY_S

    async def evict(self) -> None:
        """Leave memory for another; the next request loads it again."""
        await self._let_through()
        self.metrics.evicted()
        await self.unload_now(_NOT_YET)

    async def retire(self) -> None:
        """Leave memory for good, once those that are on the way to it are through."""
        await self._let_through()
        await self.unload_now(UNLOADED)

    async def _let_through(self) -> None:
        while self.holders:  # noqa: ASYNC110 - an Event for a counter buys nothing here
            await asyncio.sleep(_POLL_S)
