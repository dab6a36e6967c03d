"""Settings -> a classifier that answers: fetch, load, name the classes. Runs in the runtime's load thread."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from moorage.api.predictor import LoadProgress, PredictorSettings
from moorage_predictor import storage
from moorage_predictor.engine import network
from moorage_predictor.tasks.image_classification import ImageClassifier, Limits
from moorage_predictor.tasks.image_classification.labels import class_names


def load(
    settings: PredictorSettings, report: Callable[[LoadProgress], None], cancelled: threading.Event
) -> ImageClassifier:
    """The warm classifier.

    Raises:
        StartError: the model cannot be served; the message names the file or URI and the reason.
    """
    with tempfile.TemporaryDirectory(prefix="moorage-model-") as folder:
        if settings.storage_uri is None:
            path = Path(settings.model_dir or "")
        else:
            path = storage.fetch(
                settings.storage_uri,
                into=Path(folder),
                model_root=settings.model_root,
                allow_hosts=settings.storage_allow_hosts,
                report=report,
                cancelled=cancelled,
            )
        loaded = network.load(
            path, architecture=settings.architecture, sha256=settings.sha256, report=report, cancelled=cancelled
        )
        names = class_names(loaded.num_classes, loaded.hub, loaded.weights)
    limits = Limits(settings.max_image_bytes, settings.max_image_side)
    return ImageClassifier(loaded, names, top_k=settings.top_k, limits=limits)
