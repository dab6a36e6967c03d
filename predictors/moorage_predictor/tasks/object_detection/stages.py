"""Pictures of many requests through one detector, its stages side by side. Called by `wire/detection.py`, on the event loop.

    picture -> decode and prepare, in a decode thread -> queue -> forward, a batch in the forward thread -> its own request
                                                                        with its boxes, in a draw thread ──^  if it wants it

A detector's pass is long, so there is one at a time, on all cores. A prepared picture takes megabytes, so only as many are
prepared as a few batches hold; the others wait as files. Drawing takes no thread from decoding, and a picture counts until it
is drawn: who asks for more than can be drawn is refused as who asks for more than can be computed.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, TypeVar

from moorage_predictor.batching import DEFAULT_PRIORITY, Batcher, BatchLimits, all_of
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import Images
from moorage_predictor.tasks.object_detection.detector import Detector
from moorage_predictor.tasks.object_detection.options import Options
from moorage_predictor.tasks.object_detection.types import Detections, Prepared

T = TypeVar("T")

MAX_BATCH_SIZE: Final = 4
"""Pictures of a batch, if nobody says how many."""
_BATCHES_PREPARED: Final = 2
_DRAW_THREADS: Final = 2
MOST_PIXELS_DRAWN: Final = 1 << 26
"""Of one request's pictures together: four of the largest."""


class Stages:
    """Of one detector."""

    def __init__(self, detector: Detector, limits: BatchLimits, cores: int) -> None:
        most = detector.network.most_rows
        size = min(limits.max_batch_size, most) if most else limits.max_batch_size
        self._detector = detector
        self._cores = cores
        self._most = limits.max_queue_size + size
        self._inside = 0
        self._drawing = 0
        self._prepared = asyncio.Semaphore(_BATCHES_PREPARED * size + cores)
        self._decoders = ThreadPoolExecutor(cores, "decode")
        self._forwards = ThreadPoolExecutor(1, "forward")
        self._drawers = ThreadPoolExecutor(min(_DRAW_THREADS, cores), "draw")
        # What may wait is counted here and not by the queue: what will be refused need not be decoded.
        limits = replace(limits, max_batch_size=size, max_queue_size=sys.maxsize, workers=1)
        self.batcher: Batcher[tuple[Prepared, Options]] = Batcher(self._run, limits)

    @property
    def waiting(self) -> int:
        """Pictures that no forward pass has taken yet; of a request that is being read, one."""
        inside = self._inside - self._drawing
        return max(inside - self.batcher.running * self.batcher.max_batch_size, self.batcher.waiting)

    async def detect(
        self,
        images: Callable[[], Images],
        options: Options,
        priority: int = DEFAULT_PRIORITY,
        draw: Callable[[Images, int, Detections], T] | None = None,
    ) -> tuple[list[Detections], list[T] | None]:
        """What is in each of the pictures, which `images` gives in a decode thread, and what `draw` makes of each in a draw
        thread. Who is cancelled is not computed.

        Raises:
            InvalidInput: a picture is not acceptable, or they are too large to be drawn; they may have been computed.
            Overloaded: the queue is full; nothing was decoded.
        """
        self._enter(1, 0)
        entered = 1
        try:
            inputs = await self.in_thread(images)
            count = self._detector.pictures.count(inputs)
            self._enter(count - 1, entered)
            entered = count
            found = await all_of([self._one(inputs, index, options, priority) for index in range(count)])
            return found, await self._drawn(inputs, found, draw) if draw else None
        finally:
            self._inside -= entered

    async def _drawn(
        self, inputs: Images, found: Sequence[Detections], draw: Callable[[Images, int, Detections], T]
    ) -> list[T]:
        pixels = sum(one.size[0] * one.size[1] for one in found)
        if pixels > MOST_PIXELS_DRAWN:
            raise InvalidInput(f"annotate: expected at most {MOST_PIXELS_DRAWN} pixels in one request, found {pixels}")
        loop = asyncio.get_running_loop()
        self._drawing += len(found)
        try:
            return await all_of([loop.run_in_executor(self._drawers, draw, inputs, *one) for one in enumerate(found)])
        finally:
            self._drawing -= len(found)

    def in_thread(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Done in a decode thread."""
        return asyncio.get_running_loop().run_in_executor(self._decoders, work)

    async def _one(self, inputs: Images, index: int, options: Options, priority: int) -> Detections:
        detector = self._detector
        async with self._prepared:
            prepared = await self.in_thread(lambda: detector.prepare(inputs, index))
            key = detector.network.key(prepared, options)
            found: Detections = await self.batcher.submit((prepared, options), key=key, priority=priority)
            return found

    def _enter(self, rows: int, entered: int) -> None:
        """Count so many more pictures of a request of which some are inside already. A request alone is never too large."""
        if self._inside > entered and self._inside + rows > self._most:
            raise self.batcher.refusal()
        self._inside += rows

    async def _run(self, payloads: Sequence[tuple[Prepared, Options]], *, alone: bool) -> Sequence[Any]:
        forward = self._detector.forward
        return await asyncio.get_running_loop().run_in_executor(self._forwards, forward, payloads, self._cores)

    def close(self) -> None:
        """After the last picture."""
        self._decoders.shutdown(wait=False)
        self._forwards.shutdown(wait=False)
        self._drawers.shutdown(wait=False)
        # The batcher and this object hold each other until a collection comes by; the weights go at once.
        del self._detector
