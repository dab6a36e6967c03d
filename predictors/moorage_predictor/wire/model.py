"""The image classifier as a model: a request -> the task's stages -> an answer, for every protocol. Made by `adapt.py`."""

import time
from typing import Any

from moorage.api.predictor import PredictorSettings
from moorage_predictor.batching import BatchLimits, Observe
from moorage_predictor.engine import cores
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import ImageClassifier
from moorage_predictor.tasks.image_classification.stages import MAX_BATCH_SIZE, Stages
from moorage_predictor.wire import images, outputs, v1
from moorage_predictor.wire.messages import InferRequest, InferResponse
from moorage_predictor.wire.urgency import urgency


class ClassifierModel:
    """One loaded classifier."""

    never_blocks = True
    """Its hooks may run on the server's own event loop: what takes long is in threads."""
    fresh_outputs = True
    """No answer is written over by the next."""
    takes_bytes = True
    """A V1 instance may hold the file itself."""

    def __init__(self, classifier: ImageClassifier, settings: PredictorSettings) -> None:
        self.name = settings.model_name
        self._classifier = classifier
        self._max_image_bytes = settings.max_image_bytes
        limits = BatchLimits(
            settings.max_batch_size or MAX_BATCH_SIZE, settings.max_queue_size, settings.max_queue_delay_ms / 1000
        )
        self._stages = Stages(classifier, limits, cores.available())
        self.tune = self._stages.tune
        """To be awaited beside the first requests."""
        self.ready = True

    def stop(self) -> None:
        """After the last request."""
        self.ready = False
        self._stages.close()

    def observed_by(self, observe: Observe) -> None:
        """Tell of every batch."""
        self._stages.batcher.observe = observe

    @property
    def waiting(self) -> int:
        """Rows that wait for a forward pass."""
        return self._stages.batcher.waiting

    @property
    def runs_on(self) -> tuple[str, str]:
        """Its engine, and the number format of its forward passes."""
        engine = self._classifier.engine
        return engine.get("engine", "eager"), engine.get("precision", "fp32")

    def parameters(self) -> dict[str, Any]:
        """How it runs, for the model's config."""
        batching = {"max_batch_size": self._stages.batcher.max_batch_size, **self._stages.split.as_dict()}
        return {**self._classifier.engine, **batching}

    def labels(self, output: str) -> tuple[str, ...] | None:
        """Names of the classes, in the order of `logits`."""
        return self._classifier.names if output == "logits" else None

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> dict[str, Any] | InferResponse:
        """Answer one request: of V1 a dictionary, of V2 REST and gRPC an InferRequest.

        Raises:
            RequestError: see `errors.py`.
        """
        started = time.perf_counter()
        if isinstance(payload, InferRequest):
            requested = outputs.wanted(payload)
            priority = urgency(headers or {}, payload.parameters).priority
            result = await self._stages.classify(
                lambda: images.images_of(payload.inputs, self._max_image_bytes), priority
            )
            return outputs.response(payload, requested, result)
        if not isinstance(payload, dict):
            raise InvalidInput("the body: expected a JSON object")
        result = await self._stages.classify(
            lambda: v1.images_of(payload, self._max_image_bytes), urgency(headers or {}).priority
        )
        return v1.response(result, time.perf_counter() - started)

    def get_input_types(self) -> list[dict[str, Any]]:
        """The three forms of `image`; -1 is any size."""
        height, width = self._classifier.input_size
        return [
            {"name": images.INPUT_NAME, "datatype": "BYTES", "shape": [-1]},
            {"name": images.INPUT_NAME, "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
            {"name": images.INPUT_NAME, "datatype": "FP32", "shape": [-1, 3, height, width]},
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Every output, `logits` too, which is given only when asked for."""
        top_k, classes = self._classifier.top_k, self._classifier.num_classes
        return [
            {"name": name, "datatype": datatype, "shape": [-1, classes if name == "logits" else top_k]}
            for name, datatype in outputs.DATATYPES.items()
        ]
