"""Files -> a warm `Detector`. Called by `loading.py`, in the thread that loads.

| file                                                      | is                                                |
|-----------------------------------------------------------|---------------------------------------------------|
| `.safetensors`; `.pth`, `.pt`, `.bin` with tensors        | weights of `torchvision/NAME`, `ultralytics/NAME` |
| `.onnx`; `.pt2`; `.torchscript`, or `.pt` with code in it | an exported model with raw YOLO output            |
"""

import tempfile
import threading
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage_predictor.engine import checkpoint, cores, files
from moorage_predictor.engine import weights as stored
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.image_classification import Limits
from moorage_predictor.tasks.object_detection.config import DetectionConfig
from moorage_predictor.tasks.object_detection.detector import Detector
from moorage_predictor.tasks.object_detection.options import Options
from moorage_predictor.tasks.object_detection.types import Network

if TYPE_CHECKING:
    from moorage_predictor.tasks.object_detection.runners import Kind

Report = Callable[[LoadProgress], None]

_BLANK: Final = (64, 64, 3)
_EXPORTED: "Final[dict[str, Kind]]" = {".onnx": "onnx", ".pt2": "exported", ".torchscript": "script"}


def load(settings: PredictorSettings, path: Path, report: Report, cancelled: threading.Event) -> Detector:
    """The detector at `path`, a file or the folder that holds one.

    Raises:
        LoadFailed: the file is missing, corrupt, unsafe, or is no detector that this task knows.
    """
    weights = find(path)
    files.check_sha256(weights, settings.sha256)
    config = DetectionConfig.beside(weights)
    if kind := kind_of(weights):
        if settings.architecture:
            raise LoadFailed(weights, f"expected no architecture with an exported model, found {settings.architecture}")
        network = _exported(weights, kind, config, report)
    else:
        network = _from_weights(weights, settings.architecture or config.architecture, config, report, cancelled)
    options = Options(settings.confidence, settings.iou, settings.max_detections)
    detector = Detector(network, options, Limits(settings.max_image_bytes, settings.max_image_side))
    _warm_up(detector, weights, report)
    return detector


def find(path: Path) -> Path:
    """The model at `path` (a file), or the only one in it (a folder).

    Raises:
        LoadFailed: there is none, or a choice that only the user can make.
    """
    return files.find_weights(path, (*files.SUFFIXES, *_EXPORTED))


def kind_of(file: Path) -> "Kind | None":
    """Of an exported model; None: weights alone."""
    if file.suffix in _EXPORTED:
        return _EXPORTED[file.suffix]
    if file.suffix not in files.CHECKPOINT_SUFFIXES or not zipfile.is_zipfile(file):
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            inside = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise LoadFailed(file, "not a complete archive: it is truncated or corrupt") from error
    if "models/model.json" in inside:
        return "exported"
    return "script" if "constants.pkl" in inside else None


def _exported(file: Path, kind: "Kind", config: DetectionConfig, report: Report) -> Network:
    from moorage_predictor.tasks.object_detection import exported  # torch and torchvision: seconds

    report(LoadProgress("import", 2, 2))
    report(LoadProgress("weights", 0, 1))
    network = exported.load(file, kind, config)
    report(LoadProgress("weights", 1, 1))
    return network


def _from_weights(
    weights: Path, architecture: str | None, config: DetectionConfig, report: Report, cancelled: threading.Event
) -> Network:
    if architecture is None:
        raise LoadFailed(weights, "the architecture is unknown: set it (torchvision/NAME), or export the model to ONNX")
    with ExitStack() as stack:
        readable, conversion = weights, None
        if weights.suffix in files.CHECKPOINT_SUFFIXES:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="moorage-weights-"))
            conversion = checkpoint.Conversion(weights, Path(folder) / "weights.safetensors")
            stack.callback(conversion.close)
        import torchvision  # noqa: F401 - seconds; the conversion runs meanwhile

        from moorage_predictor.tasks.object_detection import torchvision_detectors, ultralytics_detectors

        report(LoadProgress("import", 2, 2))
        if conversion:
            readable = conversion.wait(cancelled)
        report(LoadProgress("weights", 0, 1))
        tensors = stored.read(readable, weights)
        network: Network
        if architecture.startswith(ultralytics_detectors.PREFIX):
            name = architecture.removeprefix(ultralytics_detectors.PREFIX)
            network = ultralytics_detectors.load(name, tensors, weights, config)
        elif architecture.startswith(torchvision_detectors.PREFIX):
            name = architecture.removeprefix(torchvision_detectors.PREFIX)
            network = torchvision_detectors.load(name, tensors, weights, config)
        else:
            raise LoadFailed(architecture, "expected torchvision/NAME or ultralytics/NAME for task object-detection")
        report(LoadProgress("weights", 1, 1))
    return network


def _warm_up(detector: Detector, weights: Path, report: Report) -> None:
    report(LoadProgress("warmup", 0, 1))
    blank: Any = np.zeros(_BLANK, dtype=np.uint8)
    try:
        detector.forward([(detector.network.prepare(blank), detector.options)], cores.available())
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        raise LoadFailed(weights, f"a forward pass fails: {error}") from error
    report(LoadProgress("warmup", 1, 1))
