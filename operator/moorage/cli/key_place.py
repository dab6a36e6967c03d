"""Where `moor keys` keeps keys: a file, or Redis. Two calls at once never lose a key: the file is changed by one process at a
time, and Redis takes a change only of what it was made from."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from moorage.access import redis_store, stores
from moorage.access.errors import ConfigurationError
from moorage.access.keys import StoredKey, check_room
from moorage.access.redis_url import read_url
from moorage.api import ExitCode
from moorage.api.access import ACCESS_FROM_ENV
from moorage.cli.errors import UserError

_REDIS_S: Final = 5.0
REDIS_VARIABLE: Final = ACCESS_FROM_ENV["access_keys_redis_url"]

_Answer = TypeVar("_Answer")
Change = Callable[[dict[str, StoredKey]], _Answer]
"""Is given the keys that are there, by id, and changes that dictionary. Maybe called several times."""


@dataclass(frozen=True)
class KeyFile:
    """A JSON file, which a server reads with --access-keys-file."""

    path: Path

    def read(self) -> list[StoredKey]:
        """All keys; none where there is no file yet.

        Raises:
            UserError: it holds something else.
        """
        if not self.path.exists():
            return []
        try:
            return stores.read_file(self.path)
        except ConfigurationError as error:
            raise UserError(str(error)) from error

    def write(self, change: Change[_Answer]) -> _Answer:
        """Change keys; what `change` answers.

        Raises:
            UserError: as `read`, what `change` raises, there would be too many keys, or the file cannot be written.
        """
        if self.path.suffix in (".yaml", ".yml"):
            raise UserError(f"{self.path}: expected a .json file: YAML is only read")
        try:
            with stores.alone(self.path):
                keys = {key.id: key for key in self.read()}
                answer = change(keys)
                check_room(len(keys), str(self.path))
                stores.write_file(self.path, list(keys.values()))
        except ConfigurationError as error:
            raise UserError(str(error)) from error
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        return answer


@dataclass(frozen=True, repr=False)
class KeysInRedis:
    """A Redis, which servers read with --access-keys-redis-url-file."""

    url: str

    def read(self) -> list[StoredKey]:
        """All keys.

        Raises:
            UserError: Redis does not answer, or holds something else.
        """
        return self._asked(redis_store.read(self.url, _REDIS_S))

    def write(self, change: Change[_Answer]) -> _Answer:
        """Change keys; what `change` answers.

        Raises:
            UserError: as `read`, what `change` raises, or there would be too many keys.
        """
        return self._asked(redis_store.write(self.url, change, _REDIS_S))

    def _asked(self, question: Coroutine[Any, Any, _Answer]) -> _Answer:
        try:
            return asyncio.run(question)
        except ConfigurationError as error:
            raise UserError(str(error)) from error
        except Exception as error:
            if not type(error).__module__.startswith("redis."):
                raise
            raise UserError(
                f"Redis at {self._where()}: {type(error).__name__}: it did not do what it was asked",
                ExitCode.UNAVAILABLE,
            ) from error

    def _where(self) -> str:
        """The address, without user and password."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return parts.path
        if "@" in parts.path + parts.fragment:  # a password with / or # in it ends the address too early
            return "the address in its URL (in a password, / is %2F and # is %23)"
        return parts.netloc.rpartition("@")[2] or "localhost"


def place(file: Path | None, redis_url_file: Path | None, redis_url: str | None) -> KeyFile | KeysInRedis:
    """What the options and the environment name.

    Raises:
        UserError: none or several, or the file with the URL cannot be read.
    """
    if (file is not None) + (redis_url_file is not None) > 1:
        raise UserError("expected one of --file and --redis-url-file")
    if file is not None:
        return KeyFile(file)
    if redis_url_file is not None:
        try:
            return KeysInRedis(read_url("--redis-url-file", redis_url_file))
        except ConfigurationError as error:
            raise UserError(str(error)) from error
    if redis_url:
        return KeysInRedis(redis_url)
    raise UserError(f"expected --file, --redis-url-file or the variable {REDIS_VARIABLE}: where the keys are")
