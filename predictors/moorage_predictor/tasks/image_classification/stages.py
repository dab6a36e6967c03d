"""Images of many requests through one classifier, its stages side by side. Called by `wire/model.py`, on the event loop.

    image -> prepare, in a decode thread -> queue -> forward and rank, a batch in a forward thread -> its own request

A lone image gets all cores for its forward pass. When images abound, several passes run at a time, as `engine.split`
measured; decode threads are as many as cores, because decoding and forward passes take turns on them anyway.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, TypeVar

from moorage_predictor.batching import DEFAULT_PRIORITY, Batcher, BatchLimits
from moorage_predictor.engine import split as splits
from moorage_predictor.tasks.image_classification import preprocess
from moorage_predictor.tasks.image_classification.classifier import Classification, ImageClassifier, stacked
from moorage_predictor.tasks.image_classification.preprocess import Row
from moorage_predictor.tasks.image_classification.types import Images

_log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BATCH_SIZE: Final = 8
"""Rows of a batch, if nobody says how many: more gain little on a CPU and delay everybody."""
_IDLE_S: Final = 0.5
"""The cores are measured when no image has come for so long: not while somebody waits for the first answers."""


class Stages:
    """Of one classifier."""

    def __init__(self, classifier: ImageClassifier, limits: BatchLimits, cores: int) -> None:
        """Of `limits`, the workers are measured later; until then there is one a core."""
        self._classifier = classifier
        self.split = splits.Split(workers=cores, threads=1, cores=cores)
        self._most = limits.max_queue_size + cores * limits.max_batch_size
        self._inside = 0
        self._decoding = 0
        self._decoders = ThreadPoolExecutor(cores, "decode", preprocess.on_one_core)
        self._forwards = ThreadPoolExecutor(max_workers=cores, thread_name_prefix="forward")
        # What may wait is counted here and not by the queue: what will be refused need not be decoded.
        limits = replace(limits, max_queue_size=sys.maxsize, workers=cores)
        self.batcher: Batcher[Row] = Batcher(self._run, limits, self._company_comes)

    async def classify(self, images: Callable[[], Images], priority: int = DEFAULT_PRIORITY) -> Classification:
        """The best classes of each image. `images` is called in a decode thread. Who is cancelled is not computed.

        Raises:
            InvalidInput: an image is not acceptable; none of the request's is computed then.
            Overloaded: the queue is full; at most the first image was decoded.
        """
        self._enter(1, 0)
        entered = 1
        try:
            row, others = await self._decode_for_company(lambda: self._first(images()))
            if not others:
                found: Classification = await self.batcher.submit(row, priority=priority)
                return found
            self._enter(len(others), entered)
            entered += len(others)
            rows = [row, *await _all([self._decode(prepare) for prepare in others])]
            return Classification.joined(await _all([self.batcher.submit(row, priority=priority) for row in rows]))
        finally:
            self._inside -= entered

    def _enter(self, rows: int, entered: int) -> None:
        """Count so many more rows of a request of which some are inside already. A request alone is never too large."""
        if self._inside > entered and self._inside + rows > self._most:
            raise self.batcher.refusal()
        self._inside += rows

    def _first(self, images: Images) -> tuple[Row, list[Callable[[], Row]]]:
        """The first image, prepared at once because most requests have no other, and what prepares the others."""
        first, *others = self._classifier.rows(images)
        return first(), others

    def _decode(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._decoders, work)

    async def _decode_for_company(self, work: Callable[[], T]) -> T:
        """Of a request's first image: the others of it join no batch before all of them are decoded."""
        self._decoding += 1
        try:
            return await self._decode(work)
        finally:
            self._decoding -= 1
            self.batcher.look()

    def _company_comes(self) -> bool:
        """Whether all cores are at work and some of them on further rows: a small batch would but take a core from those."""
        return self._decoding > 0 and self._decoding + self.batcher.running * self.split.threads >= self.split.cores

    async def _run(self, payloads: Sequence[Row], *, alone: bool) -> Sequence[Any]:
        threads = self.split.cores if alone and not self._decoding else self.split.threads
        return await asyncio.get_running_loop().run_in_executor(self._forwards, self._work, payloads, threads)

    def _work(self, rows: Sequence[Row], threads: int) -> list[Classification]:
        return self._classifier.rank(self._classifier.forward(stacked(rows), threads)).apart()

    async def tune(self) -> None:
        """Measure how forward passes share the cores, once nobody waits for anything."""
        while True:
            await asyncio.sleep(_IDLE_S)
            if not self._inside:
                break
        forward, row = self._classifier.forward, self._classifier.blank()
        cores, size = self.split.cores, self.batcher.max_batch_size
        stopped = threading.Event()
        try:
            self.split = await asyncio.to_thread(
                lambda: splits.measure(forward, row, cores, size, stopped=stopped.is_set)
            )
        finally:
            stopped.set()  # a process that is told to end waits for the thread
        self.batcher.resize(self.split.workers)
        _log.info("forward passes share the cores", extra=self.split.as_dict())

    def close(self) -> None:
        """After the last image."""
        self._decoders.shutdown(wait=False)
        self._forwards.shutdown(wait=False)
        # The batcher and this object hold each other until a collection comes by; the weights go at once.
        del self._classifier


async def _all(futures: Sequence["asyncio.Future[T]"]) -> list[T]:
    """All results; when one fails the others are no longer wanted."""
    try:
        return await asyncio.gather(*futures)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
