"""Photos, weights and reference of the image workload, made once in build/bench/images and checked by hash at each run."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.harness import paths
from bench.harness.errors import NotThere
from bench.predictor import engines, photos

FOLDER = paths.ROOT / "build" / "bench" / "images"
MANIFEST = "manifest.json"
RECIPE = (
    photos.LOCK,
    paths.BENCH / "predictor" / "photos.py",
    paths.BENCH / "predictor" / "weights.py",
    paths.BENCH / "models" / "images" / "networks.py",
    paths.BENCH / "models" / "images" / "classifier.py",
)
"""The files that decide what is made; after a change of one everything is made anew."""


@dataclass(frozen=True)
class Assets:
    """What was made. `folder` has `photos/`, `calibration/` and a folder for each network."""

    folder: Path
    files: tuple[bytes, ...]

    def model(self, architecture: str) -> Path:
        return self.folder / architecture


def ready(tell: Callable[[str], None], folder: Path = FOLDER) -> Assets:
    """What lies there if it is whole, else made anew: a minute of two cores."""
    if not is_whole(folder):
        tell("photos and weights: making them, a minute or two")
        unfinished = folder.with_name(f"{folder.name}-{os.getpid()}")
        try:
            _make(unfinished)
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
            engines.forget()
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return Assets(folder, tuple(file.read_bytes() for file in sorted((folder / "photos").glob("*.jpg"))))


def is_whole(folder: Path) -> bool:
    """Whether every file has the hash that it was made with, by today's recipe."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return False
    wanted = json.loads(manifest.read_text())
    return wanted["recipe"] == recipe() and wanted["files"] == hashes(folder)


def _make(folder: Path) -> None:
    for name, files in (("photos", photos.measured()), (engines.CALIBRATION, photos.calibrating())):
        (folder / name).mkdir(parents=True)
        for number, file in enumerate(files):
            (folder / name / f"{number:03}.jpg").write_bytes(file)
    # In a process of its own, so that torch does not live in the client.
    command = [str(paths.PRODUCT_PYTHON), "-m", "bench.predictor.weights", str(folder)]
    done = subprocess.run(command, cwd=paths.ROOT, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotThere(f"the weights could not be made:\n{done.stderr[-3000:]}")
    (folder / MANIFEST).write_text(json.dumps({"recipe": recipe(), "files": hashes(folder)}, indent=1) + "\n")


def recipe() -> str:
    """One hash of all that decides what is made."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in RECIPE)).hexdigest()


def hashes(folder: Path) -> dict[str, str]:
    """Of every file but the manifest."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
