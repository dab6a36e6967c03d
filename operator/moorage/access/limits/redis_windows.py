"""Moving windows in Redis, which all replicas share: the same as `windows.py`, by one script that is one step for everybody.
Asked through `failure.Guarded`. The only door to the libraries `limits` and `redis` for rate limits.

`limits` has the connection, its options and its keys. Its own script for moving windows is not used: it takes the time from
whoever asks, so that replicas whose clocks differ let more through; it takes one limit at a time, so that a call that the
second refuses has been counted by the first; and it needs a second trip for what the headers say.

A window is a list: for each moment at which calls leave, `MOMENT COUNT`, where COUNT is of all calls so far. The first entry has
left already; the last COUNT minus its is what is in the window.
"""

from collections.abc import Sequence
from typing import Any, Final

from limits.aio.storage import RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from moorage.access.errors import ConfigurationError
from moorage.access.limits.windows import Rate, Verdict

PREFIX: Final = "moorage:limit"
_MOST_CONNECTIONS: Final = 32
_SCHEMES: Final = ("redis://", "rediss://", "unix://")
_IDLE_CHECK_S: Final = 30

# KEYS: one for each limit. ARGV: limit, length and step of each, microseconds. Returns allowed, now, and of each window the
# calls in it and when the oldest leaves. Numbers are written with %.0f because Lua's own way has only 14 digits.
TAKE: Final = """
local function entry(key, index)
  local text = redis.call('LINDEX', key, index)
  if not text then return nil end
  local moment, count = string.match(text, '^(%d+) (%d+)$')
  return tonumber(moment), tonumber(count)
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local allowed = 1
local used, leaves, total = {}, {}, {}
for i, key in ipairs(KEYS) do
  local oldest = entry(key, 1)
  while oldest and oldest <= now do
    redis.call('LPOP', key)
    oldest = entry(key, 1)
  end
  local _, before = entry(key, 0)
  local _, latest = entry(key, -1)
  used[i] = (latest or 0) - (before or 0)
  leaves[i] = oldest or now
  total[i] = latest or 0
  if used[i] >= tonumber(ARGV[3 * i - 2]) then allowed = 0 end
end
if allowed == 1 then
  for i, key in ipairs(KEYS) do
    local step = tonumber(ARGV[3 * i])
    local moment = math.ceil((now + tonumber(ARGV[3 * i - 1])) / step) * step
    local last = entry(key, -1)
    local text = string.format('%.0f %.0f', moment, total[i] + 1)
    if not last then
      redis.call('RPUSH', key, '0 0', text)
    elseif last == moment then
      redis.call('LSET', key, -1, text)
    else
      redis.call('RPUSH', key, text)
    end
    redis.call('PEXPIRE', key, math.ceil((moment - now) / 1000) + 1)
    if used[i] == 0 then leaves[i] = moment end
    used[i] = used[i] + 1
  end
end
local answer = {allowed, now}
for i in ipairs(KEYS) do
  answer[2 * i + 1] = used[i]
  answer[2 * i + 2] = leaves[i]
end
return answer
"""


class RedisWindows:
    """One process' way to Redis. Connections are made when they are needed, and belong to the event loop that asks first."""

    errors: tuple[type[Exception], ...] = (RedisError, OSError)
    """What `take` raises when Redis does not do what it was asked."""

    def __init__(self, url: str, scope: str, *, timeout_s: float) -> None:
        """`scope` sets apart what does not count together.

        Raises:
            ConfigurationError: it is no URL of a Redis.
        """
        if not url.startswith(_SCHEMES):
            raise ConfigurationError(
                f"the URL of Redis: expected {', '.join(_SCHEMES)}..., got one that starts with {url.partition('://')[0][:20]!r}"
            )
        try:
            self._pool: Any = BlockingConnectionPool.from_url(
                url,
                max_connections=_MOST_CONNECTIONS,
                timeout=timeout_s,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                health_check_interval=_IDLE_CHECK_S,
                # A connection that Redis has closed since its last use is opened anew; nothing else is tried twice.
                retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            )
        except ValueError as error:
            raise ConfigurationError(
                "the URL of Redis cannot be read: expected redis://USER:PASSWORD@HOST:PORT/DB"
            ) from error
        self.storage: Any = RedisStorage(
            "async+redis://", implementation="redispy", key_prefix=f"{PREFIX}:{scope}", connection_pool=self._pool
        )
        self._script = self.storage.bridge.get_connection().register_script(TAKE)

    async def take(self, keys: Sequence[str], rates: Sequence[Rate]) -> Verdict:
        """Count a call in the window of each key, if all have room by the rate in the same place; else in none.

        Raises:
            RedisError, OSError: it was not done, or nobody knows whether it was.
        """
        prefixed = [self.storage.bridge.prefixed_key(key) for key in keys]
        answer = await self._script(prefixed, [number for rate in rates for number in rate])
        allowed, now, *windows = map(int, answer)
        return Verdict(bool(allowed), now, tuple(zip(windows[::2], windows[1::2], strict=True)))

    async def disconnect(self) -> None:
        """Let go of all connections; the next call looks up the name anew, which after a failover is another server's."""
        await self._pool.disconnect()
