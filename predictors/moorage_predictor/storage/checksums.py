"""`SHA256SUMS` beside the files of a model, as `sha256sum` writes it: compared before a byte of them is parsed. Called by
`wire/model_repository.py`, in the thread that loads.
"""

import hashlib
import re
from pathlib import Path
from typing import Final

from moorage_predictor.errors import LoadFailed

FILE_NAME: Final = "SHA256SUMS"
_LINE: Final = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?([^/\\\0]+)")
_MOST_BYTES: Final = 1 << 20


def check(folder: Path) -> None:
    """Compare every file that the list names; without a list nothing is compared.

    Raises:
        LoadFailed: a file is missing or another than promised, or the list is none.
    """
    listed = folder / FILE_NAME
    if not listed.is_file():
        return
    try:
        if listed.stat().st_size > _MOST_BYTES:
            raise LoadFailed(listed, f"{FILE_NAME}: larger than {_MOST_BYTES} bytes")
        lines = listed.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LoadFailed(listed, f"{FILE_NAME}: cannot be read") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise LoadFailed(listed, f"{FILE_NAME}, line {number}: expected a SHA-256 and the name of a file beside it")
        _check(folder / parts[2], parts[1].lower())


def _check(file: Path, expected: str) -> None:
    if not file.is_file():
        raise LoadFailed(file, f"{file.name}: listed in {FILE_NAME}, and not there")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise LoadFailed(file, f"{file.name}: sha256: expected {expected}, found {found}")
