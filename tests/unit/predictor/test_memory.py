"""Freed memory goes back."""

import os
import platform
import subprocess
import sys
import threading
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


# A block for each of eight threads, freed next to the end of its thread's arena; and how much of it is still there.
ARENAS = """
import sys, threading
from pathlib import Path
from moorage_predictor import memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
bytearray(30_000_000)  # from now on glibc keeps twice as much, as after any large block
together = threading.Barrier(8)
def use():
    blocks = [bytearray(100_000) for _ in range(80)]
    together.wait()
threads = [threading.Thread(target=use) for _ in range(8)]
before = resident()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
kept = resident() - before
memory.trim(dict(part.split("=") for part in sys.argv[1:]))
print(kept > 30_000_000, resident() - before < 5_000_000)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
@pytest.mark.parametrize(("env", "gone"), [([], True), (["MALLOC_TRIM_THRESHOLD_=1000000000"], False)])
def test_what_threads_freed_at_the_ends_of_their_arenas_goes_back_unless_the_environment_has_its_own_threshold(
    env: list[str], *, gone: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ARENAS, *env],
        env={**os.environ, **dict(part.split("=") for part in env)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", str(gone)]


def test_where_no_further_thread_can_be_started_what_can_go_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    memory.trim({})
    assert not any(thread.is_alive() for thread in started)


def test_it_may_be_called_where_there_is_nothing_to_do() -> None:
    memory.trim()
    memory.trim()
