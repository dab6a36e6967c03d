"""Freed memory back to the operating system, and less that waits for its next use.

glibc keeps what each thread has freed for that thread's next need, in arenas of its own: up to eight for each CPU of the node.
Of the large buffers of loading, of measuring and of a model that was unloaded nothing is needed again.
"""

import ctypes
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

_ARENA_MAX: Final = -8
"""`M_ARENA_MAX` in glibc's malloc.h; musl, which has one arena, takes no such number and says so."""
_USERS_CHOICE: Final = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def few_arenas(cores: int, env: Mapping[str, str] = os.environ) -> None:
    """As many as threads can be at work at a time, and not one for each thread that ever was. Before threads are started.

    Whoever has chosen a number in the environment has it.
    """
    if not any(name in env for name in _USERS_CHOICE) and (mallopt := _of_libc("mallopt")):
        mallopt(_ARENA_MAX, max(2, cores))


def trim() -> None:
    """When a model has settled in, and when it has gone. Takes milliseconds, without the interpreter's lock: call it in a
    thread. Where the C library has no such thing, as musl and macOS, it does nothing."""
    if work := _of_libc("malloc_trim"):
        work(0)


@cache
def _of_libc(name: str) -> Callable[..., Any] | None:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # Windows has no such handle
        return None
