"""Freed memory goes back, and there are few places for it to wait in."""

import subprocess
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


# How many arenas 16 threads have that hold memory at the same time, by glibc's own account.
ARENAS = """
import ctypes, os, re, sys, tempfile, threading
from moorage_predictor import memory
if sys.argv[1] != "none":
    memory.few_arenas(int(sys.argv[1]), dict(part.split("=") for part in sys.argv[2:]))
all_there = threading.Barrier(17)
def hold():
    kept = [bytearray(1000) for _ in range(1000)]
    all_there.wait()
    all_there.wait()
for _ in range(16):
    threading.Thread(target=hold).start()
all_there.wait()
libc = ctypes.CDLL(None)
libc.fopen.restype, libc.malloc_info.argtypes, libc.fclose.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
path = tempfile.mktemp()
stream = libc.fopen(path.encode(), b"w")
libc.malloc_info(0, stream)
libc.fclose(stream)
all_there.wait()
print(len(re.findall("<heap nr=", open(path).read())))
os.unlink(path)
"""


def arenas(*arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", ARENAS, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
def test_threads_share_as_many_arenas_as_there_are_cores() -> None:
    assert arenas("none") > 3
    assert arenas("3") == 3
    assert arenas("1") == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc")
@pytest.mark.parametrize("chosen", ["MALLOC_ARENA_MAX=8", "GLIBC_TUNABLES=glibc.malloc.arena_max"])
def test_who_has_chosen_a_number_of_arenas_has_it(chosen: str) -> None:
    assert arenas("3", chosen) > 3
