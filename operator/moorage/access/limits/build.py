"""Settings -> where the counts are. Called once by each process that serves."""

from typing import Final

from moorage.access.errors import ConfigurationError
from moorage.access.limits.failure import Guarded
from moorage.access.limits.limiter import Store
from moorage.access.limits.windows import MemoryStore
from moorage.access.redis_url import read_url
from moorage.api.rate_limits import RateLimitSettings

_COUNTER_S: Final = 1.0
"""For the answer of the process next door, which is late only where the machine is."""


def store(settings: RateLimitSettings, scope: str) -> Store:
    """Where this process' counts are. Redis need not be there yet.

    Args:
        settings: at least one rule.
        scope: what counts together in one Redis, where the settings do not say.

    Raises:
        ConfigurationError: a file cannot be read, holds no URL of a Redis, or a package is missing.
    """
    if settings.rate_limit_redis_url_file is not None:
        try:
            from moorage.access.limits.redis_windows import RedisWindows
        except ModuleNotFoundError as error:
            raise ConfigurationError("--rate-limit-redis-url-file: pip install 'moorage[access]' first") from error
        url = read_url("--rate-limit-redis-url-file", settings.rate_limit_redis_url_file)
        timeout_s = settings.rate_limit_store_timeout_ms / 1000
        remote = RedisWindows(url, settings.rate_limit_scope or scope, timeout_s=timeout_s)
        on_failure, replicas = settings.rate_limit_on_store_failure, settings.rate_limit_replicas
        return Guarded(remote, on_failure, replicas, deadline_s=timeout_s)
    if settings.rate_limit_socket is not None:
        from moorage.access.limits.workers import Client

        return Guarded(Client(settings.rate_limit_socket), "local", settings.rate_limit_replicas, deadline_s=_COUNTER_S)
    return MemoryStore()
