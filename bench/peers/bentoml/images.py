"""BentoML with the image classifier: one service per way of calling it, as in `service.py`. `launch.py` names one."""

import base64
import os
from typing import Any

import bentoml
from bench.models.images.classifier import Classifier

WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
THREADS = int(os.environ.get("BENCH_THREADS", "1"))
MAX_BATCH_SIZE = int(os.environ.get("BENCH_MAX_BATCH_SIZE", "32"))
QUIET = {
    "logging": {"access": {"enabled": False}},
    "metrics": {"enabled": False},
    "traffic": {"timeout": 120, "max_concurrency": 1000},
}


def classify(classifier: Classifier, instances: list[dict[str, str]]) -> list[list[dict[str, Any]]]:
    return classifier([base64.b64decode(one["b64"]) for one in instances])


@bentoml.service(name="batched", workers=WORKERS, threads=THREADS, **QUIET)
class Batched:
    def __init__(self) -> None:
        self.classifier = Classifier.from_environment()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=60_000)
    def predict(self, instances: list[dict[str, str]]) -> list[list[dict[str, Any]]]:
        return classify(self.classifier, instances)


@bentoml.service(name="threaded", workers=WORKERS, threads=THREADS, **QUIET)
class Threaded:
    def __init__(self) -> None:
        self.classifier = Classifier.from_environment()

    @bentoml.api
    def predict(self, instances: list[dict[str, str]]) -> list[list[dict[str, Any]]]:
        return classify(self.classifier, instances)
