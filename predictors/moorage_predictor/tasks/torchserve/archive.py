"""Weights and what belongs to them -> NAME.mar, by torch-model-archiver. Called by `load.py`.

The archive is complete: any TorchServe whose Python has `moorage_predictor` serves photos with it.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from moorage.api.child import python
from moorage.api.predictor import PredictorSettings
from moorage_predictor.engine import config
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.image_classification import labels

SETTINGS_FILE: Final = "moorage.json"
_SETTINGS: Final = ("model_name", "task", "architecture", "sha256", "top_k", "max_image_bytes", "max_image_side")
_BESIDE: Final = (config.FILE_NAME, labels.FILE_NAME)
_HANDLER: Final = Path(__file__).with_name("handler.py")
_PACK: Final = "from model_archiver.model_packaging import generate_model_archive; generate_model_archive()"
_PATIENCE_S: Final = 600


def pack(weights: Path, settings: PredictorSettings, work: Path, store: Path) -> Path:
    """The archive, in `store`, which nobody can write to afterwards; `work` is an empty folder.

    Raises:
        LoadFailed: torch-model-archiver says no.
    """
    stated = work / SETTINGS_FILE
    stated.write_text(json.dumps(stated_by(settings)))
    extra = [stated, *(file for name in _BESIDE if (file := weights.with_name(name)).is_file())]
    made = work / "made"
    made.mkdir()
    options = {
        "model-name": settings.model_name,
        "version": settings.model_version,
        "serialized-file": weights,
        "handler": _HANDLER,
        "extra-files": ",".join(map(str, extra)),
        "export-path": made,
    }
    done = subprocess.run(
        python("-c", _PACK, *(f"--{name}={value}" for name, value in options.items())),
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        cwd=work,
        timeout=_PATIENCE_S,
    )
    packed = made / f"{settings.model_name}.mar"
    if done.returncode or not packed.is_file():
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise LoadFailed(weights, f"torch-model-archiver failed: {said[-1]}")
    store.mkdir()
    archive = Path(shutil.move(packed, store))
    archive.chmod(0o400)
    store.chmod(0o500)
    return archive


def stated_by(settings: PredictorSettings) -> dict[str, Any]:
    """What the handler must know."""
    return {name: value for name in _SETTINGS if (value := getattr(settings, name)) is not None}
