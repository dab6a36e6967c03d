"""Freed memory back to the operating system. Called by `wire/served.py` when a model has settled in, and when it has gone.

glibc keeps what each thread has freed for that thread's next need. Of the large buffers of loading, of measuring and
of a model that was unloaded nothing is needed again.
"""

import ctypes
from collections.abc import Callable
from functools import cache


def trim() -> None:
    """Takes milliseconds, without the interpreter's lock: call it in a thread. Where the C library has no such thing, as
    musl and macOS, it does nothing."""
    if work := _malloc_trim():
        work(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # Windows has no such handle
        return None
