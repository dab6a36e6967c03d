"""`--update-golden` and the fixture `golden`: what is made is compared with a committed file, or written over it."""

from collections.abc import Callable
from pathlib import Path

import pytest

Compare = Callable[[Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write expected files anew; review them as a diff")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Compare:
    """Call it with the path of the committed file and the text that was made."""

    def compare(path: Path, made: str) -> None:
        if request.config.getoption("--update-golden"):
            path.write_text(made)
        assert path.exists(), f"{path} is missing: run pytest --update-golden and review it"
        assert made == path.read_text(), f"{path} differs: run pytest --update-golden and review the diff"

    return compare
