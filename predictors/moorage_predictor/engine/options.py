"""What a user may say about the engine, as `network.load` takes it. Made of `PredictorSettings` in `loading.py`."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moorage_predictor.engine.backend import Precision


def default_cache_dir() -> Path:
    """`moorage/engines` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "moorage" / "engines"


@dataclass(frozen=True)
class EngineOptions:
    """Which engine, and what it may take to find it."""

    precision: Precision | Literal["auto"] = "fp32"
    engine: str | None = None
    """A name from `backends`, `auto` to measure those that are installed, None for what needs no measuring."""
    cache_dir: Path = field(default_factory=default_cache_dir)
    budget_s: float = 60.0
    choose: Callable[[Path, Path, threading.Event], None] | None = None
    """Given the weights and an empty folder, runs `choose.py` in a child process, which leaves its choice in the folder."""

    features: Literal["auto", "on", "off"] = "auto"
    """Whether a copy of the network is kept in torch's own operators, to look into: `auto` where it runs in those anyway."""

    @property
    def needs_choice(self) -> bool:
        """Must something be built ahead, or measured?"""
        measured = "auto" in (self.precision, self.engine)
        return measured or self.precision == "int8" or self.engine in ("aot", "onnxruntime", "openvino")
