"""The object detector as a model: a request -> the task's stages -> an answer, for every protocol. Made by `adapt.py`."""

import time
from collections.abc import Callable
from typing import Any, Final

import pybase64

from moorage.api.predictor import PredictorSettings
from moorage_predictor.engine import cores
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import EncodedImages, Images, PixelImages
from moorage_predictor.tasks.object_detection import Detections, Detector, drawing
from moorage_predictor.tasks.object_detection.stages import MAX_BATCH_SIZE, Stages
from moorage_predictor.wire import detection_v1, detection_v2, images, v1
from moorage_predictor.wire.batching_model import BatchingModel, limits_of
from moorage_predictor.wire.messages import InferRequest, InferResponse
from moorage_predictor.wire.urgency import urgency

MOST_DRAWN: Final = 8
"""Pictures of one request: each may become an answer of some fifty megabytes."""


class DetectorModel(BatchingModel):
    """One loaded detector."""

    takes_bytes = True
    """A V1 instance may hold the file itself."""

    def __init__(self, detector: Detector, settings: PredictorSettings) -> None:
        self._detector = detector
        self._max_image_bytes = settings.max_image_bytes
        self._stages = Stages(detector, limits_of(settings, MAX_BATCH_SIZE), cores.available())
        super().__init__(settings, self._stages.batcher, self._stages.close)

    @property
    def waiting(self) -> int:
        """Pictures that wait for a forward pass."""
        return self._stages.waiting

    @property
    def runs_on(self) -> tuple[str, str]:
        """Its engine, and the number format of its forward passes."""
        told = self._detector.network.describe()
        return told["engine"], told["precision"]

    def parameters(self) -> dict[str, Any]:
        """How it runs and what a request gets that asks for nothing else, for the model's config."""
        options = self._detector.options
        return {
            **self._detector.network.describe(),
            "max_batch_size": self._batcher.max_batch_size,
            "confidence": options.confidence,
            "iou": options.iou,
            "max_detections": options.max_detections,
            "classes": ",".join(self._detector.names),
        }

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> dict[str, Any] | InferResponse:
        """Answer one request: of V1 a dictionary, of V2 REST and gRPC an InferRequest.

        Raises:
            RequestError: see `errors.py`.
        """
        started = time.perf_counter()
        detector = self._detector
        if isinstance(payload, InferRequest):
            asked = detection_v2.asked(payload, detector.options, detector.names)
            found, drawn = await self._stages.detect(
                lambda: _few(images.images_of(payload.inputs, self._max_image_bytes), asked.picture),
                asked.options,
                urgency(headers or {}, payload.parameters).priority,
                self._drawer(asked.picture, asked.as_text),
            )
            return detection_v2.response(payload, asked, found, detector.names, drawn)
        if not isinstance(payload, dict):
            raise InvalidInput("the body: expected a JSON object")
        wanted = detection_v1.asked(payload, detector.options, detector.names)
        found, drawn = await self._stages.detect(
            lambda: _few(v1.images_of(payload, self._max_image_bytes), wanted.picture),
            wanted.options,
            urgency(headers or {}).priority,
            self._drawer(wanted.picture, as_text=True),
        )
        return detection_v1.response(wanted, found, detector.names, drawn, time.perf_counter() - started)

    def get_input_types(self) -> list[dict[str, Any]]:
        """The two forms of `image`; -1 is any size."""
        return [
            {"name": images.INPUT_NAME, "datatype": "BYTES", "shape": [-1]},
            {"name": images.INPUT_NAME, "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Every output, also those that are given only when asked for."""
        return detection_v2.output_types()

    def _drawer(self, picture: str | None, as_text: bool) -> Callable[[Images, int, Detections], bytes | str] | None:
        """What makes a picture with its boxes, a file of that format, in base64 if `as_text`; None if nobody asked."""
        if picture is None:
            return None
        detector = self._detector

        def draw(inputs: Images, index: int, found: Detections) -> bytes | str:
            # Decoded again: to keep the pixels of all pictures until here would take far more memory than time.
            file = drawing.drawn(detector.pictures.pixels(inputs, index), found, detector.names, picture)
            return pybase64.b64encode(file).decode() if as_text else file

        return draw


def _few(inputs: Images, picture: str | None) -> Images:
    """The same.

    Raises:
        InvalidInput: annotated pictures are asked for, of too many.
    """
    count = len(inputs.files) if isinstance(inputs, EncodedImages) else 1
    if isinstance(inputs, PixelImages):
        count = len(inputs.pixels)
    if picture is not None and count > MOST_DRAWN:
        raise InvalidInput(f"annotate: expected at most {MOST_DRAWN} pictures in one request, found {count}")
    return inputs
