"""Memory and processor time of a process, as the kernel tells them, and of a GPU, as torch does. Called for a scrape."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

from moorage.api import metrics as m
from moorage_predictor.telemetry.store import Numbers

_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Usage(NamedTuple):
    """Of one process; None where the system does not tell."""

    cpu_seconds: float | None = None
    resident_bytes: float | None = None
    proportional_bytes: float | None = None


def usage(pid: int) -> Usage:
    """From /proc, which Linux has. The proportional size takes the kernel about a millisecond for each GiB."""
    proc = Path("/proc", str(pid))
    try:
        times = (proc / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        pages = (proc / "statm").read_text(encoding="utf-8").split()[1]
    except (OSError, IndexError):
        return Usage()
    cpu_seconds = (int(times[11]) + int(times[12])) / _TICKS_PER_S
    return Usage(cpu_seconds, float(int(pages) * _PAGE_BYTES), _proportional(proc))


def numbers_of(workers: list[tuple[str, int]]) -> Numbers:
    """What `/metrics` tells of these processes: number and id of each."""
    found: Numbers = {}
    for worker, pid in workers:
        metrics = (m.CPU_SECONDS, m.RESIDENT_MEMORY, m.PROPORTIONAL_MEMORY)
        for metric, value in zip(metrics, usage(pid), strict=True):
            if value is not None:
                found[metric.name, (worker,)] = [value]
    return found


def _proportional(proc: Path) -> float | None:
    try:
        lines = (proc / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not with every kernel's settings
        return None
    return next((int(line.split()[1]) * 1024.0 for line in lines if line.startswith("Pss:")), None)


def gpu_bytes() -> dict[str, float]:
    """By device, as `cuda:0`; none before the model's code has used one. Torch is asked only where it is loaded."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return {}
    return {f"cuda:{index}": float(cuda.memory_reserved(index)) for index in range(cuda.device_count())}
