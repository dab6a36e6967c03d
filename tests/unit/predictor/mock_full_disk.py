"""A disk that becomes full while a file is copied. A mock, because only root may make a disk so small."""

import errno
import os
import shutil
from pathlib import Path

import pytest


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """From now on only a part of files of this name can be copied, one by one or in a tree."""
    copyfile = shutil.copyfile

    def copied(source: str | Path, target: str | Path, **options: bool) -> object:
        if Path(target).name == at:
            Path(target).write_bytes(b"a part")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return copyfile(source, target, **options)

    monkeypatch.setattr(shutil, "copyfile", copied)
