"""Files at a path -> an image classifier whose network is in a TorchServe. Called by `loading.load`, in the load thread."""

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage_predictor.engine import files
from moorage_predictor.engine.config import DataConfig
from moorage_predictor.tasks.image_classification import ImageClassifier, Limits
from moorage_predictor.tasks.torchserve import archive, configuration
from moorage_predictor.tasks.torchserve.process import Process


class TorchServeNetwork:
    """The network, as the classifier knows one; it is elsewhere."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.data = DataConfig.model_validate(process.described["data"])
        self.num_classes: int = process.described["num_classes"]

    def forward(self, batch: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """See `Connection.forward`."""
        return self.process.forward(batch, threads)


class TorchServeClassifier(ImageClassifier):
    """Images are decoded, prepared and ranked here."""

    def __init__(self, process: Process, settings: PredictorSettings) -> None:
        described = process.described
        super().__init__(
            TorchServeNetwork(process),
            tuple(described["names"]),
            top_k=settings.top_k,
            limits=Limits(settings.max_image_bytes, settings.max_image_side),
            threshold=settings.confidence_threshold,
            engine={**described["engine"], "engine": "torchserve"},
        )
        self.process = process


def load(
    settings: PredictorSettings, path: Path, report: Callable[[LoadProgress], None], cancelled: threading.Event
) -> TorchServeClassifier:
    """A warm classifier.

    Raises:
        StartError: the files are not what they should be, or TorchServe or Java is not there.
    """
    java = configuration.java()
    report(LoadProgress("weights", 0, 3))
    weights = files.find_weights(path)
    files.check_sha256(weights, settings.sha256)
    layout = configuration.Layout(Path(tempfile.mkdtemp(prefix="ts-")))
    process = Process(java, layout, settings.model_name, settings.forward_timeout_s)
    try:
        packing = layout.folder / "packing"
        packing.mkdir()
        packed = archive.pack(weights, settings, packing, layout.store)
        shutil.rmtree(packing)
        configuration.write(layout, settings, packed)
        report(LoadProgress("weights", 1, 3))
        process.start(cancelled)
        report(LoadProgress("weights", 3, 3))
        return TorchServeClassifier(process, settings)
    except BaseException:
        process.stop()
        layout.remove()
        raise
