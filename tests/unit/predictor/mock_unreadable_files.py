"""Files that this process may not look at. A mock, because the tests may run as root, whom no mode stops."""

from pathlib import Path

import pytest


def forbid(monkeypatch: pytest.MonkeyPatch, below: Path) -> None:
    """From now on whatever lies in this folder, or is this file, answers as if it were another user's."""
    stat, open_ = Path.stat, Path.open

    def check(path: Path, *, itself: bool) -> None:
        if below in path.parents or (itself and path == below):
            raise PermissionError(13, "Permission denied", str(path))

    def guarded_stat(path: Path, **options):
        check(path, itself=False)
        return stat(path, **options)

    def guarded_open(path: Path, *words, **options):
        check(path, itself=True)
        return open_(path, *words, **options)

    monkeypatch.setattr(Path, "stat", guarded_stat)
    monkeypatch.setattr(Path, "open", guarded_open)
