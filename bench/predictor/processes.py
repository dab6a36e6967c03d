"""The processes without a server: the floor (`floor.py`) and the limit (`offline.py`). Called by `campaign.py`."""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from bench.harness import environments, paths
from bench.harness.errors import NotThere
from bench.harness.footprint import Footprint, footprint
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


def offline(
    assets: Assets,
    architecture: str,
    engine: dict[str, Any] | None,
    splits: Sequence[Split],
    seconds: float,
    tolerance: float,
) -> list[dict[str, Any]]:
    """`split`, `images_per_s` and `batch_ms` for each split; `engine` are settings of ours, None is the peers' code."""
    command = [str(paths.PRODUCT_PYTHON), "-m", "bench.predictor.offline", str(assets.folder), architecture]
    command += [str(seconds), str(tolerance), "plain" if engine is None else json.dumps(engine), json.dumps(splits)]
    done = subprocess.run(
        command, cwd=paths.ROOT, env=environments.variables(), check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise NotThere(f"the offline loop of {architecture} with {engine} failed: {done.stderr.strip()[-1500:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found
