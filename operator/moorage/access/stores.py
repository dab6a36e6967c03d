"""Where keys are kept: a file, or a folder as the kubelet mounts a Secret. Read by `gate.py`; written by `moor keys`. Redis is
in `redis_store.py`.

    gate: fresh(now)? ── no ──> await refresh() ──> verifiers: id -> Verifier
"""

import asyncio
import errno
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
from moorage.api import regular_file
from moorage.api.apart import apart

_log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often a file is looked at: a change counts after this time at the latest."""
WAIT_S: Final = 0.5
"""How long callers wait for a look, from when it began; those who come later go on with what is known. A mount may hang."""
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
        self._looking: asyncio.Task[None] | None = None
        self._wait_until = 0.0
        self._seen = self._told = self._signature_now()  # what was last read, and what was last tried and told of
        self.verifiers: Mapping[str, Verifier] = self._load()

    def fresh(self, now: float) -> bool:
        """One comparison; each second somebody has to look."""
        return now >= self._wait_until if self._looking else now < self._next_look

    async def refresh(self) -> None:
        """One look at a time, whoever asks, in a thread: thousands of keys take a while, and even a `stat` hangs with its mount."""
        now = time.monotonic()
        if self._looking is None:
            if now < self._next_look:  # another caller has just looked
                return
            self._looking = asyncio.create_task(self._look())
            self._wait_until = now + WAIT_S
        await asyncio.wait([self._looking], timeout=max(0.0, self._wait_until - now))

    async def close(self) -> None:
        """Wait for no look that is under way."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        try:
            found = await apart(self._signature_now, "keys", self._hangs)
            if self._differs(found):
                await self._take(found)
            else:
                self._told = self._seen
        except Exception:  # noqa: BLE001 - no thread to be had, or a defect: callers go on with what is known
            _log.exception("the keys were not looked at; those known before stay")
        finally:
            self._next_look = time.monotonic() + LOOK_S
            self._looking = None

    async def _take(self, found: object) -> None:
        """What could not be read is tried again each second, for it may not be the file's fault; it is told once."""
        try:
            self.verifiers = await apart(self._load, "keys", self._hangs)
        except ConfigurationError as error:
            if found != self._told:
                self._told = found
                _log.error("the keys were not read; those known before stay", extra={"reason": str(error)})
        else:
            self._seen = self._told = found
            _log.info("keys were read", extra={"path": str(self._path), "keys": len(self.verifiers)})

    def _hangs(self) -> None:
        _log.error(
            "the keys are not read: their file does not answer; those known before stay",
            extra={"path": str(self._path)},
        )

    def _load(self) -> dict[str, Verifier]:
        return {key.id: Verifier(key) for key in self._read(self._path)}

    def _differs(self, found: object) -> bool:
        """From what was last read; what cannot be looked at is never taken for the same."""
        return found is None or found != self._seen

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
        data = regular_file.read(path, _MAX_BYTES + 1)
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
        files = sorted(each for each in path.iterdir() if not each.name.startswith(".") and each.is_file())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    keys = [(each, key) for each in files for key in read_file(each)]
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
    """A file with mode 0600 that is there whole, or as before; a link to it stays a link.

    Raises:
        OSError: the folder cannot be written to, or a device or a pipe is there, which would be replaced.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
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
        except Exception as error:  # noqa: BLE001 - PyYAML has an IndexError for `!!int ""`, and others
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
    return tuple((each.name, _if_stated(each)) for each in sorted(path.iterdir()) if not each.name.startswith("."))


def _if_stated(path: Path) -> object:
    try:
        return _stated(path)
    except OSError:  # a link to nowhere: the other files are looked at all the same
        return None
