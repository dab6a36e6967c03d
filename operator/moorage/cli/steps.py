"""How far a child process is, as people see it. Used by `moor up` while a model loads, and by `moor init` while one is trained."""

import os

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_WIDTH = 24


class Steps:
    """A bar on a terminal, a line a stage elsewhere, nothing in CI."""

    def __init__(self, console: Console, before: str = "") -> None:
        """`before` begins each line where there is no bar."""
        self._console = console
        self._before = before
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._stage = ""

    def __enter__(self) -> "Steps":
        if self._console.is_terminal:
            columns = (TextColumn(f"{{task.description:<{_WIDTH}}}"), BarColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, stage: str, done: int, total: int) -> None:
        """So much of this stage is done."""
        if self._bar is not None:
            self._bar.update(self._task, description=stage, completed=done, total=total or None)
        elif stage != self._stage and not os.environ.get("CI"):
            self._console.print(f"{self._before}{stage}", markup=False)
        self._stage = stage
