"""`moor` as the console script calls it, in this process."""

import sys
from typing import Any

import pytest

from moorage.cli.main import main


@pytest.fixture
def moor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Words of the command line -> exit code, standard output, standard error."""

    def run(*words: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["moor", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run
