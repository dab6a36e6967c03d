"""The `kserve.Model`: the SDK's request object -> the task -> the SDK's response object, for every protocol.

Decoding and the forward pass run in a small pool of threads, so that the event loop stays free for health checks; the
queue before it has a size, so that 503 comes before memory runs out.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from kserve import InferRequest, InferResponse, Model

from moorage_predictor.errors import InvalidInput, ModelUnavailable
from moorage_predictor.metrics import Metrics
from moorage_predictor.tasks.image_classification import Classification, ImageClassifier, Images
from moorage_predictor.wire import outputs, tensors, v1

_MAX_PENDING: Final = 256
"""Requests in work and waiting."""

_WORKERS: Final = max(1, min(4, os.cpu_count() or 1))


class ClassifierModel(Model):  # type: ignore[misc]  # the SDK has no types
    """Registered before it is loaded, so that clients get 503 and not 404 meanwhile."""

    def __init__(self, name: str, version: str, *, max_image_bytes: int, metrics: Metrics) -> None:
        super().__init__(name)
        self.version = version
        self._max_image_bytes = max_image_bytes
        self._metrics = metrics
        self._classifier: ImageClassifier | None = None
        self._pool = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="predict")
        self.pending = 0

    def serve(self, classifier: ImageClassifier) -> None:
        """From now on ready, answering with this classifier."""
        self._classifier = classifier
        self.ready = True
        self._metrics.ready(True)

    def drain(self) -> None:
        """From now on not ready; requests are still answered while the listeners are open."""
        self.ready = False
        self._metrics.ready(False)

    def load(self) -> bool:
        """Nothing: the SDK calls this on a request for a model that is not ready, where a load does not belong."""
        return bool(self.ready)

    async def predict(
        self, payload: Any, headers: dict[str, str] | None = None, response_headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """Answer one request. The SDK calls it for V1 (a dict), V2 REST and gRPC (an InferRequest).

        Raises:
            RequestError: see `errors.py`.
        """
        started = time.perf_counter()
        if isinstance(payload, InferRequest):
            requested = outputs.wanted(payload)
            result = await self._run(lambda: tensors.images_of(payload.inputs, self._max_image_bytes))
            return outputs.response(payload, requested, result, self.version)
        if not isinstance(payload, dict):
            raise InvalidInput("the body: expected a JSON object")
        result = await self._run(lambda: v1.images_of(payload, self._max_image_bytes))
        return v1.response(result, time.perf_counter() - started)

    def admit(self) -> ImageClassifier:
        """The classifier, if a request may be worked on now.

        Raises:
            ModelUnavailable: it is still loading, or has as many requests as it may.
        """
        if self._classifier is None:
            raise ModelUnavailable(f"the model {self.name} is still loading")
        if self.pending >= _MAX_PENDING:
            raise ModelUnavailable(f"the model {self.name} has {self.pending} requests waiting; try again")
        return self._classifier

    async def _run(self, images: Callable[[], Images]) -> Classification:
        classifier = self.admit()
        self.pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: classifier(images()))
        finally:
            self.pending -= 1

    def get_input_types(self) -> list[dict[str, Any]]:
        """The three forms of `image`; -1 is any size."""
        height, width = self._classifier.input_size if self._classifier else (-1, -1)
        return [
            {"name": tensors.INPUT_NAME, "datatype": "BYTES", "shape": [-1]},
            {"name": tensors.INPUT_NAME, "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
            {"name": tensors.INPUT_NAME, "datatype": "FP32", "shape": [-1, 3, height, width]},
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Every output, `logits` too, which is given only when asked for."""
        top_k, classes = (self._classifier.top_k, self._classifier.num_classes) if self._classifier else (-1, -1)
        return [
            {"name": name, "datatype": datatype, "shape": [-1, classes if name == "logits" else top_k]}
            for name, datatype in outputs.DATATYPES.items()
        ]
