"""Where keys are kept: a file, or a folder as the kubelet mounts a Secret. Read by `gate.py`; written by `moor keys`. Redis is
in `redis_store.py`.

    gate: fresh(now)? ── no ──> await refresh() ──> verifiers: id -> Verifier
"""

import asyncio
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from moorage.access.errors import ConfigurationError
from moorage.access.keys import StoredKey, Verifier, parse

_log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often a file is looked at: a change counts after this time at the latest."""
_MAX_BYTES: Final = 8 * 1024 * 1024


class Store(Protocol):
    """Keys from one place."""

    verifiers: Mapping[str, Verifier]
    """By id, as they were last read."""

    @property
    def away(self) -> bool:
        """Whether what was last read is too old to say that a key is unknown."""

    def fresh(self, now: float) -> bool:
        """Whether `verifiers` may be used at `now` (monotonic, seconds) without a `refresh` before."""

    async def refresh(self) -> None:
        """Read again. What goes wrong is logged, and what was there stays."""

    async def close(self) -> None:
        """Let go of connections."""


class Files:
    """A file, or the files of a folder. What is broken while it serves is logged and changes nothing."""

    away = False

    def __init__(self, path: str, read: Callable[[Path], list[StoredKey]], signature: Callable[[Path], object]) -> None:
        """Read it.

        Raises:
            ConfigurationError: it cannot be read, or holds something else than keys.
        """
        self._path = Path(path)
        self._read = read
        self._signature = signature
        self._next_look = 0.0
        self._refreshing = asyncio.Lock()
        self._seen = self._told = self._signature_now()  # what was last read, and what was last tried and told of
        self.verifiers: Mapping[str, Verifier] = self._load()

    def fresh(self, now: float) -> bool:
        """A `stat` each second, else one comparison."""
        if now < self._next_look:
            return True
        if self._signature_now() != self._seen:
            return False
        self._told = self._seen
        self._next_look = now + LOOK_S
        return True

    async def refresh(self) -> None:
        """In a thread: thousands of keys take a while. What could not be read is tried again each second, for it may not be the
        file's fault; it is told once."""
        async with self._refreshing:
            found = self._signature_now()
            if found == self._seen or time.monotonic() < self._next_look:  # another caller has just looked
                return
            try:
                self.verifiers = await asyncio.to_thread(self._load)
            except ConfigurationError as error:
                self._next_look = time.monotonic() + LOOK_S
                if found != self._told:
                    self._told = found
                    _log.error("the keys were not read; those known before stay", extra={"reason": str(error)})
            else:
                self._seen = self._told = found
                _log.info("keys were read", extra={"path": str(self._path), "keys": len(self.verifiers)})

    async def close(self) -> None:
        """Nothing is held."""

    def _load(self) -> dict[str, Verifier]:
        return {key.id: Verifier(key) for key in self._read(self._path)}

    def _signature_now(self) -> object:
        try:
            return self._signature(self._path)
        except OSError:
            return None


def file(path: str) -> Files:
    """The store of `--access-keys-file`."""
    return Files(path, read_file, _stated)


def folder(path: str) -> Files:
    """The store of `--access-keys-dir`."""
    return Files(path, read_folder, _folder_signature)


def read_file(path: Path) -> list[StoredKey]:
    """The keys of a JSON or YAML file.

    Raises:
        ConfigurationError: it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ConfigurationError(f"{path}: expected at most {_MAX_BYTES} bytes")
    return parse(_parsed(data, path), str(path))


def read_folder(path: Path) -> list[StoredKey]:
    """The keys of all files of a folder; what begins with a dot is the kubelet's own.

    Raises:
        ConfigurationError: as `read_file`, or two files have one id.
    """
    try:
        files = sorted(each for each in path.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    keys = [(each, key) for each in files if each.is_file() for key in read_file(each)]
    by_id = {key.id: each for each, key in keys}
    if len(by_id) < len(keys):
        twice = next(key.id for each, key in keys if by_id[key.id] != each)
        raise ConfigurationError(f"{path}: the id {twice} is in two files")
    return [key for _, key in keys]


def write_file(path: Path, keys: Sequence[StoredKey]) -> None:
    """Replace the file in one step; only its owner may read it.

    Raises:
        OSError: the folder cannot be written to.
    """
    write_private(path, json.dumps([key.document() for key in keys], indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """A file with mode 0600 that is there whole, or as before.

    Raises:
        OSError: the folder cannot be written to.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """While one process changes a file of this folder, another that wants to waits.

    Raises:
        OSError: there is no such folder.
    """
    import fcntl

    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _parsed(data: bytes, path: Path) -> Any:
    if path.suffix in (".yaml", ".yml"):
        import yaml

        try:
            return yaml.safe_load(data) or []
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"{path}: expected YAML: {getattr(error, 'problem', None) or 'it is broken'}"
            ) from None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigurationError(f"{path}: expected JSON{f': line {line} is broken' if line else ''}") from None


def _stated(path: Path) -> object:
    state = path.stat()
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino


def _folder_signature(path: Path) -> object:
    """The kubelet changes a Secret by one symbolic link, `..data`; elsewhere each file is looked at."""
    link = path / "..data"
    if link.is_symlink():
        return str(link.readlink())
    return tuple((each.name, _stated(each)) for each in sorted(path.iterdir()) if not each.name.startswith("."))
