"""The load clients of this repository, bench/tools/<name>: built with Go once, kept under a name that changes with them."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from bench.harness import paths
from bench.harness.errors import NotThere

MODULE = paths.BENCH / "tools"


def built(name: str) -> Path:
    """The program, built first where it is not there."""
    sources = sorted(
        file
        for folder in (MODULE, MODULE / name)
        for file in folder.iterdir()
        if file.suffix in (".go", ".mod", ".sum")
    )
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:12]
    target = paths.cache() / f"{name}-{digest}"
    if not target.exists():
        go = shutil.which("go")
        if go is None:
            raise NotThere(f"the load client {name} is built with Go 1.26, and go is not on PATH")
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(f".{os.getpid()}")
        command = [go, "-C", MODULE, "build", "-trimpath", "-o", unfinished, f"./{name}"]
        environment = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0"} | os.environ
        done = subprocess.run(
            [str(word) for word in command], env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise NotThere(f"go could not build bench/tools/{name}:\n{done.stderr[-3000:]}")
        unfinished.rename(target)
    return target
