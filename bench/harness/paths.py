"""Where things lie. Read by every module of the bench; nothing here touches the disk."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
PEERS = BENCH / "peers"
PRODUCT_PYTHON = ROOT / ".venv" / "bin" / "python"
PRODUCT_LOCK = ROOT / "requirements.lock"

CACHE_VARIABLE = "MOORAGE_BENCH_CACHE"


def cache() -> Path:
    """The folder for environments, archives and binaries, outside the repository."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "moorage" / "bench"
