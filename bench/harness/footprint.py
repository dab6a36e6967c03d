"""Memory of all processes of a server: RSS counts what they share once for each, PSS once in all. MiB."""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Footprint:
    """Now, and the most that RSS ever was (each process's own high-water mark, added up)."""

    rss_mib: float
    pss_mib: float
    peak_rss_mib: float


def footprint(processes: Iterable[psutil.Process]) -> Footprint:
    """Of these processes; Linux only. One that has just ended counts nothing."""
    rss = pss = peak = 0
    for process in processes:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            pss += _kib("Pss", Path(f"/proc/{process.pid}/smaps_rollup").read_text())
            rss += _kib("VmRSS", status)
            peak += _kib("VmHWM", status)
    return Footprint(*(round(value / KIB_PER_MIB, 1) for value in (rss, pss, peak)))


def _kib(name: str, text: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0
