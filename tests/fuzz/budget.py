"""How long to fuzz: MOORAGE_FUZZ_S seconds for each of the three ways, 30 in a normal test run."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, seed, settings

SECONDS = float(os.environ.get("MOORAGE_FUZZ_S", "30"))
CHUNK = 200
"""Examples between two looks at the clock."""
QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def seeds(share: float) -> Iterator[int]:
    """Fresh ones until this share of the time is over; at least one."""
    deadline = time.monotonic() + SECONDS * share
    number = time.time_ns() % 2**32
    while True:
        yield number
        number += 1
        if time.monotonic() > deadline:
            return


def fuzz(test: Callable[..., Any], share: float, after_first: Callable[[], None] = lambda: None) -> None:
    """Run a `@given` test for its share of the time; `after_first` is called once, after the first chunk."""
    chosen = settings(max_examples=CHUNK, deadline=None, database=None, suppress_health_check=QUIET)(test)
    for place, number in enumerate(seeds(share)):
        seed(number)(chosen)()
        if place == 0:
            after_first()
