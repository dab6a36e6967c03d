"""A unit test is pure and fast: well under a second. One that takes 10 s, or 60 where a network is loaded, is ended: it hangs, even
on a machine that others keep busy. A test may say otherwise with its own marker."""

from pathlib import Path

import pytest

UNIT = Path(__file__).parent
TIMEOUT_S, WITH_TORCH_S = 10, 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if UNIT in item.path.parents and item.get_closest_marker("timeout") is None:
            slow = UNIT / "predictor" in item.path.parents
            # func_only: the last test of a run also ends what other folders have started, control planes among it
            item.add_marker(pytest.mark.timeout(WITH_TORCH_S if slow else TIMEOUT_S, func_only=True))
