"""The fuzzers' own server; and time limits that follow the budget."""

from collections.abc import Iterator

import pytest
from tests.e2e.predictor.conftest import IDENTITY, Predictor
from tests.fuzz.budget import SECONDS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/fuzz/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(2 * SECONDS + 120))


@pytest.fixture(scope="session")
def fuzzed() -> Iterator[Predictor]:
    """A model that echoes, with its control endpoints."""
    predictor = Predictor(**IDENTITY, control_endpoints=True)
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()
