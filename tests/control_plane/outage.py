"""How long the outages last that tests make: as long as a test needs to look, or the length that a person asks for.

    MOORAGE_STRESS_S=300 pytest tests/contract/test_faults_through_a_proxy.py -k outage

A suite has no five minutes for each; what an outage of minutes does, and one of seconds does not, is found by running that.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STRESS_S = float(os.environ.get("MOORAGE_STRESS_S", "0"))
"""Every outage lasts for at least so many seconds."""


@contextmanager
def lasting() -> Iterator[Callable[[], float]]:
    """An outage that begins inside ends no earlier than it may; gives a function that says for how long it has lasted."""
    began = time.monotonic()
    yield lambda: time.monotonic() - began
    time.sleep(max(0.0, began + STRESS_S - time.monotonic()))
