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


class Process:
    """Of a process what is asked: its size in bytes and its processor time in seconds, at each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sizes: list[int | None], busy: bool = False) -> None:
        self.sizes, self.trims, self.cpu_s = iter(sizes), 0, 0.0
        self.busy = busy
        monkeypatch.setattr(memory, "_IDLE_S", 0.0)
        monkeypatch.setattr(memory, "_resident", lambda: next(self.sizes))
        monkeypatch.setattr(memory, "trim", self.trim)
        monkeypatch.setattr(memory.time, "process_time", self.process_time)

    def trim(self) -> None:
        self.trims += 1

    def process_time(self) -> float:
        self.cpu_s += self.busy
        return self.cpu_s


MB = 1_000_000


@pytest.mark.parametrize(
    ("sizes", "busy", "trims"),
    [
        ([500 * MB, 510 * MB, 520 * MB], False, 0),
        ([500 * MB, 700 * MB, 520 * MB, 530 * MB], False, 1),  # the third is what it has come down to
        ([500 * MB, 700 * MB, 700 * MB], True, 0),
        ([500 * MB, 300 * MB, 340 * MB, 300 * MB], False, 1),  # it had shrunk by itself, as after a model has gone
    ],
    ids=["as usual", "after large requests", "busy", "grown again"],
)
async def test_in_a_quiet_time_a_process_that_has_grown_gives_back_what_it_has_freed(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int | None], busy: bool, trims: int
) -> None:
    process = Process(monkeypatch, sizes, busy)
    with pytest.raises((RuntimeError, StopIteration)):  # no more looks
        await memory.trim_when_idle()
    assert process.trims == trims


async def test_where_nothing_tells_of_the_size_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    Process(monkeypatch, [None])
    await memory.trim_when_idle()
