"""One locked virtual environment per peer, made once and kept: lock file -> folder named by the lock's hash.

Called by `servers.py` before the first start of a peer. Our predictor, the KServe SDK and the bare ASGI app run in the
project's own `.venv`, which `requirements.lock` locks.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from bench.harness import paths
from bench.harness.errors import BadInput, NotThere


def interpreter(peer: str) -> Path:
    """The Python of a peer's environment, which is made first if it is not there."""
    lock = paths.PEERS / peer / "requirements.lock"
    if not lock.exists():
        return paths.PRODUCT_PYTHON
    _same_torch(lock)
    return locked(lock)


def locked(lock: Path) -> Path:
    """The Python of the environment that a lock file describes, kept under a name that changes with the file."""
    folder = paths.cache() / f"{lock.parent.name}-{digest(lock)}"
    if not (folder / ".ready").exists():
        _make(folder, lock)
    return folder / "bin" / "python"


def variables() -> dict[str, str]:
    """What every measured process inherits: this process's environment, with bytecode cached and the bench importable."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {"PYTHONPATH": str(paths.ROOT)}


def digest(file: Path) -> str:
    """Twelve digits that change with the file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def _make(folder: Path, lock: Path) -> None:
    uv = paths.PRODUCT_PYTHON.with_name("uv")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    for command in (
        [uv, "venv", "--quiet", "--python", paths.PRODUCT_PYTHON, folder],
        [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", "--require-hashes", "-r", lock],
    ):
        done = subprocess.run(
            [str(word) for word in command], env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise NotThere(f"{lock.parent.name}: uv could not install {lock.name}:\n{done.stderr[-3000:]}")
    (folder / ".ready").touch()


def _same_torch(lock: Path) -> None:
    """Another torch would make another comparison."""
    ours, theirs = (_pinned("torch", file) for file in (paths.PRODUCT_LOCK, lock))
    if ours != theirs:
        raise BadInput(f"{lock.parent.name}: expected torch {ours} as in requirements.lock, found {theirs}")


def _pinned(package: str, lock: Path) -> str | None:
    found = re.search(rf"^{package}==(\S+)", lock.read_text(), re.MULTILINE)
    return found.group(1) if found else None
