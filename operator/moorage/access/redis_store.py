"""Keys in Redis, for several servers at once. Made by `gate.py` for a Redis URL; written by `moor keys --redis-url-file`.

    moorage:access:keys       a hash: id -> document
    moorage:access:version    a word that each change makes anew: a number could come again after a failover

All keys are held in memory and the version is asked for every two seconds, so that an unknown caller cannot make us ask
Redis, and a known one does not wait for it.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from moorage.access.errors import ConfigurationError
from moorage.access.keys import StoredKey, Verifier, check_room, parse

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

KEYS: Final = "moorage:access:keys"
VERSION: Final = "moorage:access:version"
LOOK_S: Final = 2.0
"""How often the version is asked for: a change counts after this time at the latest."""
TIMEOUT_S: Final = 0.05
"""Most that a look adds to a call."""
READ_TIMEOUT_S: Final = 5.0
"""Most that a look itself takes; it goes on when nobody waits for it any more."""
RETRY_S: Final = 1.0
"""After a failed look; meanwhile no call waits."""
KEEP_S: Final = 600.0
"""How long known keys go on working while Redis is away."""
_MOST_TRIES: Final = 100


class RedisStore:
    """See `stores.Store`."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet: a server starts, and says 503, where Redis does not answer.

        Raises:
            ConfigurationError: the `redis` package is missing, or this is no URL of Redis. The URL is not in the message.
        """
        self.verifiers: Mapping[str, Verifier] = {}
        self._client = client(url, READ_TIMEOUT_S)
        self._version: bytes | None = None
        self._read_at: float | None = None
        self._next_look = 0.0
        self._refreshing: asyncio.Task[None] | None = None
        self._told_away = False

    @property
    def away(self) -> bool:
        """Whether Redis has not answered for so long that nothing is known any more."""
        return self._read_at is None or time.monotonic() - self._read_at > KEEP_S

    def fresh(self, now: float) -> bool:
        """Whether Redis need not be asked now."""
        return now < self._next_look

    async def refresh(self) -> None:
        """Ask for the version, and read the keys if it has changed. Waits no longer than `TIMEOUT_S`; the rest goes on."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.shield(self._refreshing)
        except TimeoutError:
            self._next_look = max(self._next_look, time.monotonic() + RETRY_S)

    async def close(self) -> None:
        """Close the connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        await self._client.aclose()

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                version = await self._client.get(VERSION)
                if version != self._version or self._read_at is None or version is None:
                    documents = await self._client.hgetall(KEYS)
                    self.verifiers = await asyncio.to_thread(_verifiers, documents)
                    self._version = version
        except Exception as error:  # noqa: BLE001 - whatever the client raises, the caller gets a 401 or 503, no 500
            self._next_look = time.monotonic() + RETRY_S
            self._version = None  # what comes back may be another Redis
            if not self._told_away:
                self._told_away = True
                _log.error(
                    "Redis gave no keys; those known before stay",
                    extra={"reason": type(error).__name__, "seconds": KEEP_S},
                )
            return
        if self._told_away:
            self._told_away = False
            _log.info("Redis gives keys again", extra={"keys": len(self.verifiers)})
        self._read_at = time.monotonic()
        self._next_look = self._read_at + LOOK_S


def client(url: str, timeout_s: float) -> Any:
    """An asynchronous client.

    Raises:
        ConfigurationError: as `RedisStore`.
    """
    try:
        from redis.asyncio import Redis
    except ModuleNotFoundError as error:
        raise ConfigurationError("keys in Redis: pip install 'moorage[access]' first") from error
    try:
        return Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    except ValueError as error:
        raise ConfigurationError("the URL of Redis: expected redis://HOST:PORT/DB, rediss:// or unix://") from error


async def read(url: str, timeout_s: float) -> list[StoredKey]:
    """All keys, for `moor keys`.

    Raises:
        ConfigurationError: something else than keys is there.
        redis.RedisError: it does not answer.
    """
    connection = client(url, timeout_s)
    try:
        return _parsed(await connection.hgetall(KEYS))
    finally:
        await connection.aclose()


async def write(url: str, change: Callable[[dict[str, StoredKey]], Answer], timeout_s: float) -> Answer:
    """Change keys, and let servers know, in one step; again, if another has changed them meanwhile.

    Args:
        url: where it is.
        change: is given the keys by id, and changes that dictionary. Maybe called several times.
        timeout_s: for each answer of Redis.

    Raises:
        ConfigurationError: as `read`, or there would be too many keys.
        redis.RedisError: it does not answer, has no room, or others change keys all the time.
    """
    connection = client(url, timeout_s)
    from redis.exceptions import WatchError

    try:
        async with connection.pipeline(transaction=True) as steps:
            tries = 0
            while True:
                await steps.watch(KEYS)
                before = {key.id: key for key in _parsed(await steps.hgetall(KEYS))}
                after = dict(before)
                answer = change(after)
                check_room(len(after), f"Redis {KEYS}")
                steps.multi()
                for key in after.values():
                    if before.get(key.id) is not key:
                        steps.hset(KEYS, key.id, json.dumps(key.document()))
                if gone := before.keys() - after.keys():
                    steps.hdel(KEYS, *gone)
                steps.set(VERSION, secrets.token_hex(16))
                try:
                    await steps.execute()
                except WatchError:
                    tries += 1
                    if tries == _MOST_TRIES:
                        raise
                else:
                    return answer
    finally:
        await connection.aclose()


def _parsed(documents: Mapping[bytes, bytes]) -> list[StoredKey]:
    try:
        return parse([json.loads(text) for text in documents.values()], f"Redis {KEYS}")
    except ValueError:
        raise ConfigurationError(f"Redis {KEYS}: expected JSON") from None


def _verifiers(documents: Mapping[bytes, bytes]) -> dict[str, Verifier]:
    return {key.id: Verifier(key) for key in _parsed(documents)}
