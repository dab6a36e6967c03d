"""What stands beside the figures: the machine, the versions, the date, the command. Written into the result file."""

import datetime
import os
import platform
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

from bench.harness import paths

PACKAGES = {
    "kserve": "kserve",
    "torchserve": "torchserve",
    "litserve": "litserve",
    "bentoml": "bentoml",
    "ray": "ray",
    "mlserver": "mlserver",
}


def describe(target: str, arguments: list[str]) -> dict[str, object]:
    """Everything that a reader needs to judge the figures; where the file went is not part of it."""
    arguments = re.sub(r"--output[ =]\S+ ?", "", " ".join(arguments)).split()
    command = target + (f" ARGS={shlex.quote(' '.join(arguments))}" if arguments else "")
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "versions": {"torch": metadata.version("torch"), "uvicorn": metadata.version("uvicorn"), **_peers()},
    }


def _peers() -> dict[str, str]:
    found = {}
    for peer, package in PACKAGES.items():
        lock = paths.PEERS / peer / "requirements.lock"
        text = (lock if lock.exists() else paths.PRODUCT_LOCK).read_text()
        pinned = re.search(rf"^{package}(?:\[[^\]]*\])?==(\S+)", text, re.MULTILINE)
        found[peer] = pinned.group(1) if pinned else "?"
    return found


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def interpreter_is_the_products() -> bool:
    """Whether this runs in the project's own environment."""
    return Path(sys.prefix).resolve() == paths.PRODUCT_PYTHON.parent.parent.resolve()
