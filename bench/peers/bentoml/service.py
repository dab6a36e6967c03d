"""BentoML with the tiny network: one service per way of calling it. `launch.py` names the one to serve.

Batched    `batchable=True`, BentoML's adaptive batching
Threaded   a plain method, which BentoML runs in its thread pool
Direct     a coroutine, which runs in the event loop
"""

import os

import bentoml
from bench.models.network import answer, build

WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
THREADS = int(os.environ.get("BENCH_THREADS", "1"))
MAX_BATCH_SIZE = int(os.environ.get("BENCH_MAX_BATCH_SIZE", "32"))
QUIET = {"logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}}


@bentoml.service(name="batched", workers=WORKERS, threads=THREADS, **QUIET)
class Batched:
    def __init__(self) -> None:
        self.network = build()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=10_000)
    def predict(self, x: list[list[float]]) -> list[list[float]]:
        return answer(self.network, x)


@bentoml.service(name="threaded", workers=WORKERS, threads=THREADS, **QUIET)
class Threaded:
    def __init__(self) -> None:
        self.network = build()

    @bentoml.api
    def predict(self, x: list[list[float]]) -> list[list[float]]:
        return answer(self.network, x)


@bentoml.service(name="direct", workers=WORKERS, **QUIET)
class Direct:
    def __init__(self) -> None:
        self.network = build()

    @bentoml.api
    async def predict(self, x: list[list[float]]) -> list[list[float]]:
        return answer(self.network, x)
