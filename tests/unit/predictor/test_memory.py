"""Freed memory goes back."""

import sys
from pathlib import Path

import pytest

from moorage_predictor import memory


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_was_freed_between_things_in_use_goes_back() -> None:
    kept = []
    for _ in range(3000):
        part = bytearray(20_000)
        kept.append(bytearray(100))
        kept.append(part)
    high = resident()
    del kept[1::2]
    del part
    memory.trim()
    assert high - resident() > 20_000_000


def test_it_may_be_called_where_there_is_nothing_to_do() -> None:
    memory.trim()
    memory.trim()
