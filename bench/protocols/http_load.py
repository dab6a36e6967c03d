"""HTTP load by wrk: one thread, keep-alive, a closed loop. `bench/wrk/load.lua` sends and checks; this reads its line.

Called by `campaign.py` through `meter.py`.
"""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.harness import paths
from bench.harness.errors import NotThere
from bench.harness.load import Load

CHECK_EVERY = 8
SCRIPT = paths.BENCH / "wrk" / "load.lua"


@dataclass(frozen=True)
class Target:
    """What to send and what must come back: three numbers, or the bytes that end the answer. `headers` are sent besides the
    content's own.
    """

    url: str
    body: bytes
    expected: list[float] | bytes
    json_length: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


def wrk() -> str:
    """The program wrk."""
    found = shutil.which("wrk")
    if found is None:
        raise NotThere("wrk is not on PATH; install it: apt-get install wrk (Debian, Ubuntu) or brew install wrk")
    return found


def run(target: Target, connections: int, seconds: float, folder: Path) -> Load:
    """Load for some seconds."""
    body, expected = folder / "body", folder / "expected"
    body.write_bytes(target.body)
    if isinstance(target.expected, bytes):
        kind = "bytes"
        expected.write_bytes(target.expected)
    else:
        kind = "floats"
        expected.write_text("\n".join(repr(number) for number in target.expected))
    command = [wrk(), "--threads=1", f"--connections={connections}", f"--duration={seconds:.0f}s", "--timeout=10s"]
    command += ["--latency", f"--script={SCRIPT}", target.url, "--"]
    command += [str(body), str(expected), kind, str(target.json_length), str(CHECK_EVERY)]
    command += [word for header in target.headers.items() for word in header]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    for line in done.stdout.splitlines():
        if line.startswith("POINT\t"):
            return _load(line.split("\t"))
    raise NotThere(f"wrk gave no figures for {target.url}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")


def _load(columns: list[str]) -> Load:
    requests, microseconds, p50, p95, p99, failed, bad_status, checked, wrong = map(float, columns[1:10])
    return Load(
        requests=int(requests),
        seconds=microseconds / 1e6,
        p50_ms=p50 / 1e3,
        p95_ms=p95 / 1e3,
        p99_ms=p99 / 1e3,
        failed=int(failed + bad_status),
        checked=int(checked),
        wrong=int(wrong),
        first_wrong=columns[10],
    )


def floats_of(tensor: bytes) -> tuple[float, ...]:
    """FP32 bytes as numbers."""
    return struct.unpack(f"<{len(tensor) // 4}f", tensor)
