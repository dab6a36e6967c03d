"""The classifier behind `kserve.Model`, as KServe's documentation writes one, for V1 and for V2.

With BENCH_POOL_THREADS=0 `predict` computes in the event loop, as the documentation's examples do; else in so many threads.
"""

import asyncio
import base64
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.models.images.classifier import Classifier
from kserve import InferOutput, InferRequest, InferResponse, Model
from kserve.utils.utils import generate_uuid

POOL_THREADS = int(os.environ.get("BENCH_POOL_THREADS", "0"))


@functools.cache
def pool() -> ThreadPoolExecutor:
    """Made where it is used: with several workers the model itself is pickled."""
    return ThreadPoolExecutor(POOL_THREADS)


class Photos(Model):
    """V1 instances {"b64": ...}, or V2 `image` BYTES [n] -> the best classes of each."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.classifier: Classifier | None = None
        self.load()

    def load(self) -> bool:
        self.classifier = Classifier.from_environment()
        self.ready = True
        return self.ready

    async def predict(
        self, payload: dict[str, Any] | InferRequest, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        if not POOL_THREADS:
            return self.answer(payload)
        return await asyncio.get_running_loop().run_in_executor(pool(), self.answer, payload)

    def answer(self, payload: dict[str, Any] | InferRequest) -> dict[str, Any] | InferResponse:
        if isinstance(payload, dict):
            return {"predictions": self.classifier([base64.b64decode(one["b64"]) for one in payload["instances"]])}
        found = self.classifier([bytes(file) for file in payload.inputs[0].as_numpy().ravel()])
        outputs = []
        for name, datatype in (("class_id", "INT64"), ("confidence", "FP32")):
            values = [one[name] for best in found for one in best]
            outputs.append(InferOutput(name=name, datatype=datatype, shape=[len(found), len(found[0])], data=values))
        return InferResponse(model_name=self.name, infer_outputs=outputs, response_id=payload.id or generate_uuid())
