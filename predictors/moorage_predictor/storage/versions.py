"""A folder of many models -> which versions of which are there: `ROOT/NAME/VERSION/` with the files of one model each.

Called by `wire/model_repository.py`, in a thread. Nothing is opened here but folders.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moorage.api.predictor import MODEL_NAME_PATTERN
from moorage_predictor.errors import LoadFailed

_LABEL: Final = re.compile(MODEL_NAME_PATTERN)
_MOST_FILES: Final = 1000
"""In one version: what has more is no model."""


@dataclass(frozen=True)
class VersionFolder:
    """One version's files as they lay there at one moment."""

    path: Path
    size_bytes: int
    """Of all its files together."""
    look: tuple[tuple[Any, ...], ...]
    """Names, sizes and times of its files; differs once any of them was written, renamed or replaced."""


@dataclass(frozen=True)
class Found:
    """What a look into the folder found."""

    versions: Mapping[str, Mapping[str, VersionFolder]]
    """By name, then by version."""
    left_out: Mapping[str, str]
    """Path below the root -> why it is none of them."""


def scan(root: Path, only: str | None = None) -> Found:
    """All versions of all models, or those of one name.

    Raises:
        LoadFailed: the folder is not there, or cannot be read.
    """
    versions: dict[str, dict[str, VersionFolder]] = {}
    left_out: dict[str, str] = {}
    try:
        real = root.resolve(strict=True)
        names = [only] if only is not None else sorted(entry.name for entry in os.scandir(real) if not _hidden(entry))
    except OSError as error:
        raise LoadFailed(root, f"cannot be read as a folder of models: {error.strerror}") from error
    for name in names:
        for version, folder in _versions(real, name, left_out):
            versions.setdefault(name, {})[version] = folder
    return Found(versions, left_out)


def _hidden(entry: "os.DirEntry[str]") -> bool:
    """Where people and tools keep what is not finished."""
    return entry.name.startswith(".")


def _versions(root: Path, name: str, left_out: dict[str, str]) -> Iterator[tuple[str, VersionFolder]]:
    try:
        folder = _folder(root, root / name)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if _hidden(entry):
                continue
            try:
                yield entry.name, _version(root, folder / entry.name)
            except _LeftOutError as error:
                left_out[f"{name}/{entry.name}"] = str(error)
    except FileNotFoundError:
        pass  # it went while we looked, or was never there
    except (OSError, _LeftOutError) as error:
        left_out[name] = str(getattr(error, "strerror", None) or error)


class _LeftOutError(Exception):
    pass


def _folder(root: Path, path: Path) -> Path:
    if not _LABEL.fullmatch(path.name):
        raise _LeftOutError("expected a name of letters, digits, '.', '_' and '-', 63 at most")
    if not _resolved(path).is_relative_to(root):
        raise _LeftOutError("a link that leaves the folder of models")
    if path.exists() and not path.is_dir():
        raise _LeftOutError("expected a folder")
    return path


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError as error:  # as Python 3.11 has it
        raise _LeftOutError(f"{path.name[:80]} is a link that leads to itself") from error


def _version(root: Path, path: Path) -> VersionFolder:
    try:
        files = list(_files(root, _folder(root, path)))
    except OSError as error:
        raise _LeftOutError(error.strerror or "cannot be read") from error
    if not files:
        raise _LeftOutError("no files in it")
    look = tuple(
        (str(file.relative_to(path)), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for file, status in files
    )
    return VersionFolder(path, sum(status.st_size for _, status in files), look)


def _files(root: Path, folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    count = 0
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*names, *(one for one in folders if Path(where, one).is_symlink())]):
            file = Path(where, name)
            if not _resolved(file).is_relative_to(root):
                raise _LeftOutError(f"{name[:80]} is a link that leaves the folder of models")
            status = file.stat()
            if stat.S_ISDIR(status.st_mode):
                continue
            if not stat.S_ISREG(status.st_mode):
                raise _LeftOutError(f"{name[:80]} is neither a file nor a folder")
            count += 1
            if count > _MOST_FILES:
                raise _LeftOutError(f"expected at most {_MOST_FILES} files")
            yield file, status
