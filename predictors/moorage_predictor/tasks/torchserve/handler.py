"""What TorchServe's worker runs: the predictor's own way of loading a network, behind TorchServe's two calls. `archive.py`
puts this file into the archive.

| a request's body                     | its answer                                     |
|--------------------------------------|------------------------------------------------|
| {"describe": true}                   | how rows are made for the network, and its classes |
| a line of JSON, then float32 rows    | their logits, float32                          |
| a JPEG, PNG, BMP, TIFF or WebP file  | its best classes, for TorchServe's own clients |
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from moorage.api.predictor import PredictorSettings
from moorage_predictor.engine import network
from moorage_predictor.errors import InvalidInput, StartError
from moorage_predictor.loading import engine_options
from moorage_predictor.tasks.image_classification import EncodedImages, ImageClassifier, Limits
from moorage_predictor.tasks.image_classification.labels import class_names
from moorage_predictor.tasks.torchserve import FAILURE_FILE


class Handler:
    """The entry point; one for each worker."""

    def initialize(self, context: Any) -> None:
        """Load the network from the unpacked archive."""
        try:
            self._load(Path(context.system_properties["model_dir"]))
        except Exception as error:
            # TorchServe would only try again, and tell nobody.
            if file := os.environ.get(FAILURE_FILE):
                words = str(error) if isinstance(error, StartError) else f"{type(error).__name__}: {error}"
                Path(file).write_text(words, encoding="utf-8")
            raise
        self.initialized = True

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """One answer for each request."""
        return [self._answer(bytearray(request.get("body") or request.get("data") or b"")) for request in data]

    def _load(self, folder: Path) -> None:
        stated = json.loads((folder / "moorage.json").read_text())
        settings = PredictorSettings(model_dir=str(folder), **stated)
        loaded = network.load(
            folder,
            architecture=settings.architecture,
            sha256=settings.sha256,
            report=lambda step: None,
            cancelled=threading.Event(),
            options=engine_options(settings),
        )
        names = class_names(loaded.num_classes, loaded.hub, loaded.weights)
        limits = Limits(settings.max_image_bytes, settings.max_image_side)
        self._classifier = ImageClassifier(loaded, names, top_k=settings.top_k, limits=limits)
        self._described = {
            "data": loaded.data.model_dump(mode="json"),
            "num_classes": loaded.num_classes,
            "names": names,
            "engine": loaded.describe(),
        }

    def _answer(self, body: bytearray) -> Any:
        if not body.startswith(b"{"):
            return self._best(bytes(body))
        line, _, raw = body.partition(b"\n")
        asked = json.loads(line)
        if "describe" in asked:
            return json.dumps(self._described).encode()
        rows = np.frombuffer(raw, "<f4").reshape(asked["shape"])
        return self._classifier.forward(rows, asked["threads"]).astype("<f4").tobytes()

    def _best(self, photo: bytes) -> Any:
        try:
            found = self._classifier(EncodedImages((photo,)))
        except InvalidInput as error:
            return {"error": str(error)}
        names, confidences = found.class_name[0].tolist(), found.confidence[0].tolist()
        return dict(zip(names, confidences, strict=True))
