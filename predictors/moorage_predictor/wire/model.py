"""The image classifier as a model: a request -> the task -> an answer, for every protocol.

Decoding and the forward pass run in a small pool of threads, so that the event loop stays free for health checks.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import Classification, ImageClassifier, Images
from moorage_predictor.wire import images, outputs, v1
from moorage_predictor.wire.messages import InferRequest, InferResponse

_WORKERS: Final = max(1, min(4, os.cpu_count() or 1))


class ClassifierModel:
    """One loaded classifier."""

    never_blocks = True
    """Its hooks may run on the server's own event loop: what takes long is in threads."""
    fresh_outputs = True
    """No answer is written over by the next."""
    takes_bytes = True
    """A V1 instance may hold the file itself."""

    def __init__(self, name: str, classifier: ImageClassifier, *, max_image_bytes: int) -> None:
        self.name = name
        self._classifier = classifier
        self._max_image_bytes = max_image_bytes
        self._pool = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="predict")
        self.ready = True

    def stop(self) -> None:
        """After the last request."""
        self.ready = False
        self._pool.shutdown(wait=False)

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
            result = await self._run(lambda: images.images_of(payload.inputs, self._max_image_bytes))
            return outputs.response(payload, requested, result)
        if not isinstance(payload, dict):
            raise InvalidInput("the body: expected a JSON object")
        result = await self._run(lambda: v1.images_of(payload, self._max_image_bytes))
        return v1.response(result, time.perf_counter() - started)

    async def _run(self, decode: Callable[[], Images]) -> Classification:
        classifier = self._classifier
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: classifier(decode()))

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
