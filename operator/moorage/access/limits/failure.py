"""A store that may be away: a call waits for it at most `DEADLINE_S`, and while it is away, calls do not wait at all. Made by
`build.py` around Redis and around the counting process of several workers.

    asked ────────────────────────> LOOK ────> deadline: away
                                     └── late, because this process was busy itself: one more deadline from now

    store answers ──────> its verdict
    late, or an error ──> away: calls get what the choice says at once; one task asks the store until it answers

What the task asks is the same as what calls ask, so that a Redis that can be read and not written is still away.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from moorage.access.limits.limiter import Answer, Unavailable
from moorage.access.limits.windows import MemoryStore, Rate, Verdict
from moorage.api.rate_limits import OnStoreFailure

_log = logging.getLogger(__name__)

DEADLINE_S: Final = 0.05
RETRY_S: Final = 1.0
_LOOK: Final = 0.8
"""After this part of the deadline a call looks whether the event loop was free. What is left suffices for an answer that lies
there already."""
_PROBE: Final = ("probe",), (Rate.of(1_000_000, 1),)
_Instead = Callable[[Sequence[str], Sequence[Rate]], Answer]


class RemoteStore(Protocol):
    """What is guarded."""

    errors: tuple[type[Exception], ...]

    async def take(self, keys: Sequence[str], rates: Sequence[Rate]) -> Verdict:
        """As `limiter.Store`. Raises one of `errors` where it could not."""

    async def disconnect(self) -> None:
        """Let go of connections."""


class Guarded:
    """One process'."""

    def __init__(
        self,
        store: RemoteStore,
        on_failure: OnStoreFailure,
        processes: int = 1,
        *,
        deadline_s: float = DEADLINE_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """`processes` share a limit while each counts for itself."""
        self._store = store
        self._failures: tuple[type[Exception], ...] = (TimeoutError, *store.errors)
        self._on_failure = on_failure
        self._deadline_s = deadline_s
        self._retry_s = retry_s
        self._processes = processes
        self._instead: _Instead = {
            "open": self._open,
            "closed": self._closed,
            "local": self._local,
        }[on_failure]
        self._memory = MemoryStore()
        """Kept when the store is back: one that comes and goes would give callers their share each time."""
        self._shares: dict[Rate, Rate] = {}
        self._task: asyncio.Task[None] | None = None
        self.away = False

    def start(self) -> None:
        """Ask the store for the first time, so that no call waits for the connection, and the log says if there is none."""
        self._task = asyncio.get_running_loop().create_task(self._first())

    async def _first(self) -> None:
        await self._ask(*_PROBE)

    def take(self, keys: Sequence[str], rates: Sequence[Rate]) -> Answer | Awaitable[Answer]:
        """See `limiter.Store`."""
        return self._instead(keys, rates) if self.away else self._ask(keys, rates)

    async def once(self, key: str, length_s: float) -> bool:
        """Whether the key comes for the first time in so many seconds: a limit of one. While the store is away nobody knows, and it
        passes for the first time unless the choice is `closed`."""
        if self.away:
            return self._unknown().allowed
        return (await self._ask((key,), (Rate.of(1, length_s),), self._unknown)).allowed

    def _unknown(self, *_: object) -> Answer:
        return Unavailable(self._on_failure != "closed", 0)

    async def _ask(self, keys: Sequence[str], rates: Sequence[Rate], instead: _Instead | None = None) -> Answer:
        try:
            return await self._in_time(keys, rates)
        except TimeoutError:
            self._is_away("no answer in time")
        except self._store.errors as error:
            self._is_away(f"{type(error).__name__}: {error}"[:200])
        except Exception:  # noqa: BLE001 - a fault of ours, or of a library: logged, and no reason to fail calls
            _log.exception("the rate limits' store was not asked")
            self._is_away("a fault of ours; see above")
        return (instead or self._instead)(keys, rates)

    async def _in_time(self, keys: Sequence[str], rates: Sequence[Rate]) -> Verdict:
        """The store's verdict.

        Raises:
            TimeoutError: there was none by the deadline. Time in which nobody listened, because the loop did something else, is
                not the store's: the deadline is then set anew, once.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.timeout(None) as timeout:
            look = loop.call_at(begun + _LOOK * self._deadline_s, self._look, loop, timeout, begun)
            try:
                return await self._store.take(keys, rates)
            finally:
                look.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop, timeout: asyncio.Timeout, begun: float) -> None:
        now, whole = loop.time(), self._deadline_s
        left = begun + whole - now
        timeout.reschedule(now + (left if left > (1 - _LOOK) / 2 * whole else whole))

    def _is_away(self, reason: str) -> None:
        if self.away:
            return  # another call has said so
        self.away = True
        _log.warning("the rate limits' store is away", extra={"reason": reason})
        self._task = asyncio.get_running_loop().create_task(self._recover())

    async def _recover(self) -> None:
        while self.away:
            try:
                async with asyncio.timeout(self._deadline_s):
                    await self._store.disconnect()  # after a failover the old server still answers, but cannot write
            except self._failures:
                pass  # what cannot be closed in time is let go of all the same
            await asyncio.sleep(self._retry_s)
            try:
                await self._in_time(*_PROBE)
            except self._failures:
                continue
            except Exception:  # noqa: BLE001 - see the words that are logged
                _log.exception("the rate limits' store was not asked")  # a fault of ours must not end the asking
                continue
            self.away = False
            _log.info("the rate limits' store is back")

    async def close(self) -> None:
        """At the end of the process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._store.disconnect()

    def _open(self, keys: Sequence[str], rates: Sequence[Rate]) -> Answer:
        return Unavailable(True, 0)

    def _closed(self, keys: Sequence[str], rates: Sequence[Rate]) -> Answer:
        return Unavailable(False, max(1, round(self._retry_s)))

    def _local(self, keys: Sequence[str], rates: Sequence[Rate]) -> Answer:
        return self._memory.take(keys, [self._share(rate) for rate in rates])

    def _share(self, rate: Rate) -> Rate:
        """One part of the limit; of one that is less than the parts, 1, so that no caller is shut out."""
        share = self._shares.get(rate)
        if share is None:
            limit, length, _ = rate
            share = self._shares[rate] = Rate.of(max(1, limit // self._processes), length / 1_000_000)
        return share
