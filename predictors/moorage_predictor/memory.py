"""Freed memory back to the operating system. Called by `wire/served.py` when a model has settled in, and when it has gone, and by
`wire/server.py` for quiet times after large requests.

glibc keeps what each thread has freed for that thread's next need, in arenas of which each is one thread's at a time. Of the large
buffers of loading, of measuring and of a model that was unloaded nothing is needed again.

    an arena:  | in use | free | in use | free, to its end |
                          └── malloc_trim ──┘  └── goes when a thread of this arena frees something, if it is more than a threshold
"""

import asyncio
import contextlib
import ctypes
import mmap
import os
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from moorage_predictor.engine import cores

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""By glibc's malloc.h."""
_USUAL_TRIM: Final = 64 << 20
_USUAL_MMAP: Final = 32 << 20
"""What glibc comes to by itself in a process that has freed such blocks. It leaves both alone once one has been set."""
_LITTLE: Final = 128 << 10
_BLOCK: Final = 100_000
"""More than a thread keeps for itself, and less than what is mapped apart."""
_CHOSEN: Final = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")
_IDLE_S: Final = 10.0
_IDLE_CPU_S: Final = 0.2
"""A process that has used less than this in that time has nothing to do."""
_WORTH: Final = 32 << 20
"""A request as usual must not find its pages gone after each pause."""
_STATM: Final = Path("/proc/self/statm")
_trims = threading.Lock()


async def trim_when_idle() -> None:
    """Until cancelled. After photos of 50 MB as pixels a process keeps some 200 MB for the next ones: in a quiet time they go back, if
    the process has grown by more than 32 MiB since the last time. Where nothing tells of its size it ends at once."""
    floor = _resident()
    if floor is None:
        return
    since_s = time.process_time()
    while True:
        await asyncio.sleep(_IDLE_S)
        used_s, now = time.process_time() - since_s, _resident() or 0
        floor = min(floor, now)
        if used_s < _IDLE_CPU_S and now > floor + _WORTH:
            await asyncio.to_thread(trim)
            floor = _resident() or 0
        since_s = time.process_time()


def _resident() -> int | None:
    """Bytes."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE
    except OSError:
        return None


def trim(env: Mapping[str, str] = os.environ) -> None:
    """Takes milliseconds, most of them without the interpreter's lock: call it in a thread. Where the C library has no such thing,
    as musl and macOS, it does nothing. Thresholds that the environment sets stay as they are."""
    if (libc := _glibc()) is None:
        return
    with _trims:
        if not any(name in env for name in _CHOSEN):
            libc.mallopt(_M_TRIM_THRESHOLD, _LITTLE)
            _free_in_each_arena(libc)
            libc.mallopt(_M_TRIM_THRESHOLD, _USUAL_TRIM)
            libc.mallopt(_M_MMAP_THRESHOLD, _USUAL_MMAP)
        libc.malloc_trim(0)


def _free_in_each_arena(libc: ctypes.CDLL) -> None:
    """Threads that are there at the same time have an arena each, and first get those of threads that have ended."""
    together = threading.Barrier(2 * cores.available() + 8)

    def use() -> None:
        block = libc.malloc(_BLOCK)
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait()
        libc.free(block)

    threads = []
    try:
        for _ in range(together.parties):
            threads.append(thread := threading.Thread(target=use, name="trim"))
            thread.start()
    except RuntimeError:  # the system has no room for so many
        threads.pop()
        together.abort()
    for thread in threads:
        thread.join()


@cache
def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no such handle
        return None
    if not hasattr(libc, "malloc_trim"):
        return None
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    return libc
