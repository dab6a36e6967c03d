"""Ultralytics' YOLO architectures with the user's weights. Made by `load.py`, only where the architecture is `ultralytics/NAME`.

The package is licensed under the AGPL-3.0, whose terms reach whoever offers a service with it. So Moorage does not depend on
it: it is imported here alone, once a user has named it and installed the extra, and the log says so at each load.

Weights come as a state dict. Ultralytics' own .pt files are pickles of whole objects, and are refused as such.
"""

import importlib
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.object_detection import exported
from moorage_predictor.tasks.object_detection.config import DetectionConfig
from moorage_predictor.tasks.object_detection.fitting import fill
from moorage_predictor.tasks.object_detection.runners import TorchRunner
from moorage_predictor.tasks.object_detection.told import Told
from moorage_predictor.tasks.object_detection.yolo import Yolo

_log = logging.getLogger(__name__)

PREFIX: Final = "ultralytics/"
_HEAD: Final = re.compile(r"model\.\d+\.cv3\.0\.2\.weight")
"""Of it the rows are the classes."""
_SCALE: Final = re.compile(r"^(yolo(?:v|e-)?\d+)([nslmx])(-.+)?$")
"""Several sizes of an architecture are in one file."""
_QUIET: Final = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
"""Without them importing it asks the network whether it is there, and it installs packages by itself."""


def load(name: str, tensors: Mapping[str, Any], weights: Path, config: DetectionConfig) -> Yolo:
    """The detector `name`, without its prefix, filled with the tensors of `weights`.

    Raises:
        LoadFailed: the package is not installed or has no such architecture, or the tensors or names do not fit it.
    """
    try:
        tasks = _imported()
    except ImportError as error:
        raise LoadFailed(
            f"{PREFIX}{name}",
            "Ultralytics is not installed: pip install 'moorage[ultralytics]' (its licence is AGPL-3.0), or export the model to ONNX",
        ) from error
    _log.warning(
        "this model runs Ultralytics' code, which is licensed under the AGPL-3.0", extra={"architecture": name}
    )
    head = next((key for key in tensors if _HEAD.fullmatch(key)), None)
    if head is None:
        raise LoadFailed(
            weights, f"does not fit {PREFIX}{name}: missing: model.N.cv3.0.2.weight, which tells the number of classes"
        )
    count = int(tensors[head].shape[0])
    try:
        model = tasks.DetectionModel(cfg=_described(tasks, name), nc=count, verbose=False).eval()
    except LoadFailed:
        raise
    except Exception as error:  # of an architecture of another task anything may come
        raise LoadFailed(f"{PREFIX}{name}", "Ultralytics cannot make a detector of this architecture") from error
    fill(model, tensors, weights, f"{PREFIX}{name}")
    model.requires_grad_(False)
    told = Told({"names": {number: f"class_{number}" for number in range(count)}})
    return exported.made(TorchRunner(model, "eager"), told, weights, config)


def _described(tasks: Any, name: str) -> dict[str, Any]:
    """The architecture as the package's own file describes it. By its name alone Ultralytics would also take a file of the
    current directory.

    Raises:
        LoadFailed: there is none.
    """
    files = {file.stem: file for file in (Path(tasks.__file__).parents[1] / "cfg" / "models").rglob("*.yaml")}
    file = files.get(name) or files.get(_SCALE.sub(r"\1\3", name))
    if file is None:
        raise LoadFailed(
            f"{PREFIX}{name}", "Ultralytics has no such architecture: expected one such as ultralytics/yolo11n"
        )
    described: dict[str, Any] = tasks.YAML.load(file)
    return {**described, "scale": tasks.guess_model_scale(name), "yaml_file": str(file)}


def _imported() -> Any:
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())
    return importlib.import_module("ultralytics.nn.tasks")
