"""A mock for a mount that hangs. While it does, whoever looks at a file below its folder, or reads one, gets no answer.

The real thing needs a network file system whose server is gone. The files are real ones.
"""

import threading
from pathlib import Path
from typing import Any

import pytest

from moorage.api import regular_file


class MockHangingMount:
    """`hang()` and `answer()` again; `waiting` counts those who are held up now."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._answers = threading.Event()
        self._answers.set()
        self.waiting = 0
        read, stat = regular_file.read, Path.stat

        def slow_read(path: Any, most: int = -1) -> bytes:
            self._hold_up(Path(path))
            return read(path, most)

        def slow_stat(path: Path, **options: Any) -> Any:
            self._hold_up(path)
            return stat(path, **options)

        monkeypatch.setattr(regular_file, "read", slow_read)
        monkeypatch.setattr(Path, "stat", slow_stat)

    def hang(self) -> None:
        self._answers.clear()

    def answer(self) -> None:
        self._answers.set()

    def _hold_up(self, path: Path) -> None:
        if self._folder in path.parents:
            self.waiting += 1
            self._answers.wait()
            self.waiting -= 1
