"""Lines on stderr for the person who waits."""

import sys
import time

STARTED = time.perf_counter()


def progress(line: str) -> None:
    """One line with the seconds since the start."""
    print(f"[{time.perf_counter() - STARTED:6.0f} s] {line}", file=sys.stderr, flush=True)
