"""Which file holds the weights, and is it the one that was promised. First step of `network.load`."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from moorage_predictor.errors import LoadFailed

CHECKPOINT_SUFFIXES: Final = (".pth", ".pt", ".bin")
SUFFIXES: Final = (".safetensors", *CHECKPOINT_SUFFIXES)
ENGINE_RECORD: Final = Path("engine", "engine.json")
"""Beside the weights, where `moor optimize` has chosen an engine for them."""
_PREFERRED: Final = "model.safetensors"
_CHUNK_BYTES: Final = 1 << 20


def find_weights(path: Path, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """The weight file at `path` (a file), or the only one in it (a folder); safetensors win over others.

    Raises:
        LoadFailed: there is none, or a choice that only the user can make.
    """
    if not path.exists():
        raise LoadFailed(path, "no such file or folder")
    if path.is_file():
        if path.suffix not in suffixes:
            raise LoadFailed(path, f"expected a weight file ending in {', '.join(suffixes)}")
        return path
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and entry.suffix in suffixes)
    for found in ([f for f in files if f.name == _PREFERRED], [f for f in files if f.suffix == ".safetensors"], files):
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found[:5])
            raise LoadFailed(path, f"expected one weight file, found {len(found)} ({names}); name one of them")
    raise LoadFailed(path, f"no weight file in this folder (looked for *{', *'.join(suffixes)})")


def is_missing(file: Path) -> bool:
    """Whether nothing is there. What may not be looked at counts as there: who reads it then gets the reason."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def check_sha256(file: Path, expected: str | None) -> None:
    """Compare the file's digest with the promised one, before a byte of it is parsed.

    Raises:
        LoadFailed: another digest, or the file cannot be read.
    """
    try:
        if file.stat().st_size == 0:
            raise LoadFailed(file, "the file is empty")
        if expected is None:
            return
    except OSError as error:
        raise LoadFailed(file, f"cannot be read: {error.strerror}") from error
    if (found := sha256_of(file)) != expected:
        raise LoadFailed(file, f"sha256: expected {expected}, found {found}")


def sha256_of(file: Path) -> str:
    """The file's digest, in hexadecimal.

    Raises:
        LoadFailed: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise LoadFailed(file, f"cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def read_ahead(file: Path) -> None:
    """Ask the system to read the file into its cache while other things are done; where it cannot be asked, nothing."""
    if hasattr(os, "posix_fadvise"):
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
