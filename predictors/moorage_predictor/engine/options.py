"""What a user may say about the engine, as `network.load` takes it. Made of `PredictorSettings` in `loading.py`."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from moorage_predictor.engine.backend import Precision
from moorage_predictor.engine.calibration import Calibration
from moorage_predictor.engine.config import DataConfig


def default_cache_dir() -> Path:
    """`moorage/engines` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "moorage" / "engines"


@dataclass(frozen=True)
class EngineOptions:
    """Which engine, and what it may take to find it."""

    precision: Precision | Literal["auto"] = "fp32"
    engine: str | None = None
    """One of `backends.NAMES`, `auto` to measure those that are installed, None for what needs no measuring."""
    cache_dir: Path = field(default_factory=default_cache_dir)
    budget_s: float = 60.0
    calibration: Callable[[DataConfig], Calibration] | None = None
    """Makes the images that engines are calibrated with and compared on; without it, none are."""

    @property
    def plain(self) -> bool:
        """Is it torch's own float32, which needs no look for anything better?"""
        return self.precision == "fp32" and self.engine in (None, "eager")
