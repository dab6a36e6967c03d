"""How many cores this process may use: its pod's, not its node's. Called by `split.py` and by what makes threads."""

import math
import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def available(cgroup: Path = _CGROUP) -> int:
    """Whole cores, at least one: the smaller of the CPUs that the process may run on and of its cgroup's quota.

    A quota of 1.5 counts as two, because two busy threads use it up and one does not; the kernel pauses them at its end.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def _quota(cgroup: Path) -> float | None:
    """In cores; inside a container the cgroup's own folder is the root of what is mounted."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:  # version 1
        limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
        period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
