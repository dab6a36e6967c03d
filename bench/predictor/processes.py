"""The processes without a server: the floor (`floor.py`) and the limit (`offline.py`). Called by `campaign.py`."""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from bench.harness import environments, paths
from bench.harness.errors import NotThere
from bench.harness.footprint import Footprint, footprint
from bench.harness.meter import shares
from bench.predictor.assets import Assets

Split = list[int]
"""Workers, torch's threads for each, files of one batch."""


@dataclass(frozen=True)
class Floor:
    """From the start of the process to the end of its forward pass, and its memory then."""

    seconds: float
    footprint: Footprint


def floor(model: Path) -> Floor:
    """One run of it."""
    command = [str(paths.PRODUCT_PYTHON), "bench/predictor/floor.py", str(model)]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=paths.ROOT, env=environments.variables(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise NotThere("bench/predictor/floor.py ended without a forward pass; what it wrote stands above")
        seconds = time.perf_counter() - started
        return Floor(seconds, footprint([psutil.Process(process.pid)]))
    finally:
        process.communicate()


class Offline:
    """A loop that waits between measurements. Made by `offline`."""

    def __init__(self, process: "subprocess.Popen[str]", failed: Callable[[], NotThere]) -> None:
        self._process, self._failed = process, failed
        if self._line() != "ready\n":
            raise failed()

    def measure(self, split: Split, seconds: float) -> dict[str, Any]:
        """`split`, `images_per_s`, `batch_ms`, and how many cores somebody else used meanwhile."""

        def one() -> str:
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps([split, seconds]) + "\n")
                self._process.stdin.flush()
            return self._line()

        line, cores = shares(one, lambda: [psutil.Process(self._process.pid)])
        if not line:
            raise self._failed()
        found: dict[str, Any] = json.loads(line)
        return found | {"foreign_cores": cores.foreign}

    def _line(self) -> str:
        return self._process.stdout.readline() if self._process.stdout is not None else ""


@contextlib.contextmanager
def offline(assets: Assets, architecture: str, engine: dict[str, Any] | None, tolerance: float) -> Iterator[Offline]:
    """The loop, once its answers are right; `engine` are settings of ours, None is the peers' code.

    Raises:
        NotThere: it ended.
    """
    command = [str(paths.PRODUCT_PYTHON), "-m", "bench.predictor.offline", str(assets.folder), architecture]
    command += [str(tolerance), "plain" if engine is None else json.dumps(engine)]
    with tempfile.TemporaryFile("w+") as errors:

        def failed() -> NotThere:
            errors.seek(0)
            return NotThere(f"the offline loop of {architecture} with {engine} failed: {errors.read().strip()[-1500:]}")

        process = subprocess.Popen(
            command,
            cwd=paths.ROOT,
            env=environments.variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Offline(process, failed)
        finally:
            process.communicate()
