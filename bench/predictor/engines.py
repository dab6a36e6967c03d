"""Our predictor's options for a network and a point of the plan; the same for the server and for its limit.

What engines build lies in build/bench/engines: it is made before anything is measured, as `moor optimize` would make it, and
anew in a run with a sweep, because engines are chosen by measuring.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.harness import paths
from bench.harness.errors import NotThere

from moorage.api.predictor import PredictorSettings

BUILT = paths.ROOT / "build" / "bench" / "engines"
CALIBRATION = "calibration"
"""Beside the networks' folders: other parts of the photos than those that are measured."""


def options(model: Path, point: Mapping[str, Any]) -> dict[str, Any]:
    """Names and values of settings. A point's are the predictor's own, by their names.

    Raises:
        NotThere: this predictor has no such setting.
    """
    if unknown := [name for name in point if name not in PredictorSettings.model_fields]:
        raise NotThere(f"this predictor has no setting {', '.join(unknown)}")
    found = {"task": "image-classification", "model_dir": str(model), **point}
    if is_built(point):
        found |= {"engine_cache_dir": str(BUILT), "calibration_dir": str(model.parent / CALIBRATION)}
    return found


def is_built(point: Mapping[str, Any]) -> bool:
    """Whether anything is chosen or built for it, other than torch itself in fp32."""
    return point.get("precision", "fp32") != "fp32" or point.get("engine") is not None


def chosen() -> list[dict[str, Any]]:
    """What was asked for and what was taken, for each that was built; as the predictor's own records have it."""
    records = [json.loads(file.read_text()) for file in sorted(BUILT.glob("*/engine.json"))]
    found = [
        {
            "model": record["network"]["architecture"],
            "asked": {"precision": record["wanted_precision"], "engine": record["wanted_engine"]},
            "taken": {name: record["chosen"][name] for name in ("engine", "precision", "agreement", "error")},
            "dropped": [
                f"{one['engine']} {one['precision']}: {one['reason']}"
                for one in record["candidates"]
                if one["state"] == "dropped"
            ],
        }
        for record in records
    ]
    return sorted(found, key=lambda one: (one["model"], str(one["asked"])))


def forget() -> None:
    """All that was built."""
    shutil.rmtree(BUILT, ignore_errors=True)
