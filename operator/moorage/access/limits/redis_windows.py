"""Moving windows in Redis, which all replicas share: the same as `windows.py`, by one script that is one step for everybody.
Asked through `failure.Guarded`. The only door to the libraries `limits` and `redis` for rate limits.

    take ──┐
    take ──┼─> waiting ──> one task: a script call for all that wait ──> Redis     the next ones wait meanwhile
    take ──┘

`limits` has the connection, its options and its keys. Its own script for moving windows is not used: it takes the time from
whoever asks, so that replicas whose clocks differ let more through; it takes one limit at a time, so that a call that the
second refuses has been counted by the first; and it needs a second trip for what the headers say.

A window is a list: for each moment at which calls leave, `MOMENT COUNT`, where COUNT is of all calls so far. The first entry has
left already; the last COUNT minus its is what is in the window.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from limits.aio.storage import RedisStorage
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from moorage.access.errors import ConfigurationError
from moorage.access.limits.windows import Rate, Verdict

PREFIX: Final = "moorage:limit"
_MOST_AT_ONCE: Final = 256
"""Calls in one call of the script, which nobody else's can interrupt."""
_SCHEMES: Final = ("redis://", "rediss://", "unix://")
_ANY_SCHEME: Final = re.compile(r"([a-z][a-z+]{0,19})://")
_MERCY_S: Final = 1.0
"""The connection's own timeouts come so much after the deadline, which `failure.Guarded` keeps: theirs go on while this process
does something else, and end what nobody waits for any longer."""

# KEYS: the windows of one call after the other. ARGV: how many calls; of each how many windows, and of each of those the limit,
# length and step in microseconds. Returns now; of each call whether it was counted, and of each of its windows the calls in it
# and when the oldest leaves. Numbers are written with %.0f because Lua's own way has only 14 digits.
TAKE: Final = """
local function entry(key, index)
  local text = redis.call('LINDEX', key, index)
  if not text then return nil end
  local moment, count = string.match(text, '^(%d+) (%d+)$')
  return tonumber(moment), tonumber(count)
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function look(key)
  local oldest = entry(key, 1)
  while oldest and oldest <= now do
    redis.call('LPOP', key)
    oldest = entry(key, 1)
  end
  local _, before = entry(key, 0)
  local _, latest = entry(key, -1)
  return (latest or 0) - (before or 0), oldest or now, latest or 0
end

local function add(key, length, step, total)
  local moment = math.ceil((now + length) / step) * step
  local last = entry(key, -1)
  local text = string.format('%.0f %.0f', moment, total + 1)
  if not last then
    redis.call('RPUSH', key, '0 0', text)
  elseif last == moment then
    redis.call('LSET', key, -1, text)
  else
    redis.call('RPUSH', key, text)
  end
  redis.call('PEXPIRE', key, math.ceil((moment - now) / 1000) + 1)
  return moment
end

local answer, first, at = {now}, 0, 1
for _ = 1, tonumber(ARGV[1]) do
  local count = tonumber(ARGV[at + 1])
  local used, leaves, total, allowed = {}, {}, {}, 1
  for i = 1, count do
    used[i], leaves[i], total[i] = look(KEYS[first + i])
    if used[i] >= tonumber(ARGV[at + 3 * i - 1]) then allowed = 0 end
  end
  answer[#answer + 1] = allowed
  for i = 1, count do
    if allowed == 1 then
      local moment = add(KEYS[first + i], tonumber(ARGV[at + 3 * i]), tonumber(ARGV[at + 3 * i + 1]), total[i])
      if used[i] == 0 then leaves[i] = moment end
      used[i] = used[i] + 1
    end
    answer[#answer + 1] = used[i]
    answer[#answer + 1] = leaves[i]
  end
  first, at = first + count, at + 1 + 3 * count
end
return answer
"""


class _Call(NamedTuple):
    keys: Sequence[str]
    rates: Sequence[Rate]
    verdict: "asyncio.Future[Verdict]"


class RedisWindows:
    """One process' way to Redis. A connection is made when it is needed, and belongs to the event loop that asks first."""

    errors: tuple[type[Exception], ...] = (RedisError, OSError)
    """What `take` raises when Redis does not do what it was asked."""

    def __init__(self, url: str, scope: str, *, timeout_s: float) -> None:
        """`scope` sets apart what does not count together; `timeout_s` is the deadline of whoever asks.

        Raises:
            ConfigurationError: it is no URL of a Redis.
        """
        if not url.startswith(_SCHEMES):
            # Without a scheme, what the text begins with may be a password.
            found = _ANY_SCHEME.match(url)
            scheme = "none" if found is None else f"{found[1]}://"
            raise ConfigurationError(f"the URL of Redis: expected {', '.join(_SCHEMES)}..., found {scheme}")
        try:
            pool: Any = ConnectionPool.from_url(
                url,
                socket_timeout=timeout_s + _MERCY_S,
                socket_connect_timeout=timeout_s + _MERCY_S,
                # A connection that Redis has closed since its last use is opened anew; nothing else is tried twice.
                retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            )
        except ValueError as error:
            raise ConfigurationError(
                "the URL of Redis cannot be read: expected redis://USER:PASSWORD@HOST:PORT/DB"
            ) from error
        storage: Any = RedisStorage(
            "async+redis://", implementation="redispy", key_prefix=f"{PREFIX}:{scope}", connection_pool=pool
        )
        self._pool = pool
        self._prefixed = storage.bridge.prefixed_key
        self._script = storage.bridge.get_connection().register_script(TAKE)
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def take(self, keys: Sequence[str], rates: Sequence[Rate]) -> Verdict:
        """Count a call in the window of each key, if all have room by the rate in the same place; else in none.

        Raises:
            RedisError, OSError: it was not done, or nobody knows whether it was.
        """
        loop = asyncio.get_running_loop()
        call = _Call(keys, rates, loop.create_future())
        self._waiting.append(call)
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return await call.verdict

    async def _send(self) -> None:
        try:
            while self._waiting:
                calls, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
                # Who no longer waits has had its answer without Redis, and is not counted here as well.
                calls = [call for call in calls if not call.verdict.done()]
                try:
                    verdicts = await self._ask(calls)
                except Exception as error:  # noqa: BLE001 - handed to whoever waits
                    for call in calls:
                        if not call.verdict.done():
                            call.verdict.set_exception(error)
                    continue
                for call, verdict in zip(calls, verdicts, strict=True):
                    if not call.verdict.done():
                        call.verdict.set_result(verdict)
        finally:
            self._sending = None

    async def _ask(self, calls: list[_Call]) -> list[Verdict]:
        if not calls:
            return []
        keys = [self._prefixed(key) for call in calls for key in call.keys]
        arguments = [len(calls)]
        for call in calls:
            arguments.append(len(call.keys))
            for rate in call.rates:
                arguments += rate
        now, *rest = await self._script(keys, arguments)
        verdicts, at = [], 0
        for call in calls:
            end = at + 1 + 2 * len(call.keys)
            windows = tuple(zip(rest[at + 1 : end : 2], rest[at + 2 : end : 2], strict=True))
            verdicts.append(Verdict(rest[at] == 1, now, windows))
            at = end
        return verdicts

    async def disconnect(self) -> None:
        """Let go of the connection; the next call looks up the name anew, which after a failover is another server's."""
        if self._sending is not None:
            await asyncio.wait([self._sending])
        await self._pool.disconnect()
