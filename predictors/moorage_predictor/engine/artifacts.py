"""Choices that were made before: found beside the weights or in the cache, checked, opened; or made now, in a child process.

network.load -> find -> beside the weights (`moor optimize`)? in the cache? -> the record, if it holds for this machine
                     -> none: `python -m moorage_predictor.optimize` writes it into the cache
network.load -> open_backend(record) -> Backend
"""

import fcntl
import hashlib
import importlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from moorage_predictor.engine.backend import Backend, Unavailable
from moorage_predictor.engine.files import ENGINE_RECORD, is_missing, sha256_of
from moorage_predictor.engine.options import EngineOptions
from moorage_predictor.engine.record import FILE_NAME, Key, Record, versions_of
from moorage_predictor.errors import LoadFailed

_log = logging.getLogger(__name__)

FOLDER: Final = ENGINE_RECORD.parent.name
"""Beside the weights."""
_CODE: Final = frozenset({"aot"})
"""Engines whose files are machine code: they are read from the cache, which this user's own processes have written."""


@dataclass(frozen=True)
class Artifact:
    """A record and where its files are."""

    folder: Path
    record: Record

    @property
    def has_files(self) -> bool:
        """Can it serve without building the network in torch?"""
        return bool(self.record.files)


def beside(weights: Path, key: Key, options: EngineOptions, pinned: bool) -> Artifact | None:
    """What `moor optimize` has put beside the weights, if it holds here. `pinned`: the user has stated the weights' sha256."""
    folder = weights.parent / FOLDER
    if is_missing(folder / FILE_NAME):
        return None
    if pinned:
        _log.warning(
            "the artifact beside the weights is not used: sha256 promises what runs, and covers the weights alone",
            extra={"folder": str(folder)},
        )
        return None
    artifact = _read(folder, key, options)
    if artifact and artifact.record.chosen.engine in _CODE:
        _log.warning(
            "the artifact beside the weights is not used: it is machine code, which is read from --engine-cache-dir alone",
            extra={"folder": str(folder)},
        )
        return None
    return artifact


def cached(key: Key, options: EngineOptions) -> Artifact | None:
    """What an earlier start has left in the cache, if it still holds.

    Raises:
        OSError: the cache may not be looked into; then it cannot be filled either.
    """
    folder = _cache_folder(key, options)
    try:
        (folder / FILE_NAME).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _read(folder, key, options)


@contextmanager
def filling_cache(key: Key, options: EngineOptions) -> Iterator[Path]:
    """An empty folder that becomes the cache's if `engine.json` is in it at the end. One process at a time fills it.

    Raises:
        OSError: the cache cannot be written.
    """
    target = _cache_folder(key, options)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("another process chooses an engine for this model; it is waited for", extra={"lock": lock.name})
            fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
        try:
            yield folder
            if (folder / FILE_NAME).is_file():
                shutil.rmtree(target, ignore_errors=True)
                folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def open_backend(artifact: Artifact) -> Backend:
    """Its engine, ready to answer.

    Raises:
        Unavailable: the engine is not installed, or its files are damaged.
    """
    chosen = artifact.record.chosen
    engine = importlib.import_module(f"moorage_predictor.engine.backends.{chosen.engine}")
    try:
        backend: Backend = engine.open_files(artifact.folder / f"{chosen.engine}-{chosen.precision}", chosen.precision)
    except (RuntimeError, OSError, ValueError) as error:
        raise Unavailable(f"{artifact.folder}: {' '.join(str(error).split())[:200]}") from error
    return backend


def _cache_folder(key: Key, options: EngineOptions) -> Path:
    stated = json.dumps([key.model_dump(), options.precision, options.engine], sort_keys=True)
    return options.cache_dir / hashlib.sha256(stated.encode()).hexdigest()[:24]


def _read(folder: Path, key: Key, options: EngineOptions) -> Artifact | None:
    """What lies there, or None, with the reason in the log."""
    try:
        record = Record.model_validate_json((folder / FILE_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        _unused(folder, f"{FILE_NAME} cannot be read: {str(error).splitlines()[0]}")
        return None
    if differ := record.key.differences(key):
        _unused(folder, f"made for another {' and '.join(name.removesuffix('_sha256') for name in differ)}")
        return None
    found = versions_of(record.chosen.engine)
    if found != record.versions:
        _unused(folder, f"made with {_listed(record.versions)}, here is {_listed(found)}")
        return None
    if not _answers(record, options):
        _unused(folder, f"it holds {record.chosen.engine} {record.chosen.precision}, which is not what is asked for")
        return None
    for name, digest in record.files.items():
        try:
            file = (folder / name).resolve()
            same = file.is_relative_to(folder.resolve()) and file.is_file() and sha256_of(file) == digest
        except (OSError, LoadFailed, RuntimeError, ValueError) as error:
            # Not ours to read, a loop of links, no file name.
            _unused(folder, f"{name} cannot be read: {error}")
            return None
        if not same:
            _unused(folder, f"{name} is missing or has changed")
            return None
    return Artifact(folder, record)


def _answers(record: Record, options: EngineOptions) -> bool:
    """Is that record an answer to what is asked for now?"""
    if options.engine not in (None, "auto", record.chosen.engine):
        return False
    if options.precision == "auto":
        return record.wanted_precision == "auto"
    return options.precision in (record.chosen.precision, record.wanted_precision)


def _unused(folder: Path, reason: str) -> None:
    _log.warning("an engine artifact is not used", extra={"folder": str(folder), "reason": reason})


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "none"
