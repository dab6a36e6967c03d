"""Images of many requests through one classifier, its stages side by side. Called by `wire/model.py`, on the event loop.

    image -> prepare -> queue -> forward and rank, a batch -> its own request
                └───── in one thread for each core ────┘

A lone image passes all stages in one thread, because handing it over takes longer than one might think, and gets all cores for its
forward pass. When images abound, several passes run at a time, as `engine.split` measured, and whatever thread is free decodes.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from moorage_predictor.batching import DEFAULT_PRIORITY, Aside, Batcher, BatchLimits, all_of
from moorage_predictor.engine import split as splits
from moorage_predictor.engine.core_threads import CoreThreads
from moorage_predictor.tasks.image_classification import preprocess
from moorage_predictor.tasks.image_classification.asked import PLAIN, Asked
from moorage_predictor.tasks.image_classification.classifier import Classification, ImageClassifier, stacked
from moorage_predictor.tasks.image_classification.preprocess import Row
from moorage_predictor.tasks.image_classification.room import Room
from moorage_predictor.tasks.image_classification.types import Images

if TYPE_CHECKING:
    from moorage_predictor.engine.inspection import Pass

_log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BATCH_SIZE: Final = 8
"""Rows of a batch, if nobody says how many: more gain little on a CPU and delay everybody."""
_IDLE_S: Final = 0.5
"""The cores are measured when no image has come for so long: not while somebody waits for the first answers."""


class Watched(NamedTuple):
    """A row of a request that wants more of its forward pass than the logits."""

    row: Row
    wanted: "Pass"


class Stages:
    """Of one classifier."""

    def __init__(self, classifier: ImageClassifier, limits: BatchLimits, cores: int) -> None:
        """Of `limits`, the workers are measured later; until then there is one a core."""
        self._classifier = classifier
        self.split = splits.Split(workers=cores, threads=1, cores=cores)
        self._most = limits.max_queue_size + cores * limits.max_batch_size
        self._inside = 0
        self._attention = Room()
        self._decoding = 0
        self._threads = CoreThreads(cores, "compute", preprocess.on_one_core)
        # Always the same thread: in a pool each would have its turn, and find its core's caches without its work.
        self._alone = ThreadPoolExecutor(1, "alone", preprocess.on_one_core)
        self._alone_busy = False
        # What may wait is counted here and not by the queue: what will be refused need not be decoded.
        limits = replace(limits, max_queue_size=sys.maxsize, workers=cores)
        self.batcher: Batcher[Row | Watched] = Batcher(self._run, limits, self._company_comes)

    async def classify(
        self, images: Callable[[], Images], priority: int = DEFAULT_PRIORITY, asked: Asked = PLAIN
    ) -> Classification:
        """The best classes of each image, and what else is asked for. `images` is called in one of the threads. Who is cancelled
        is not computed.

        Raises:
            InvalidInput: an image is not acceptable; none of the request's is computed then.
            Overloaded: the queue is full, or memory is of others' attention weights; at most the first image was decoded.
        """
        self._enter(1, 0)
        entered = 1
        try:
            await asyncio.sleep(0)  # who came in the same turn of the loop is company
            if self._inside == 1 and asked is PLAIN and not self.batcher.running and not self._alone_busy:
                done = await self._lone(images)
                if isinstance(done, Classification):
                    return done
                row, others = done
            else:
                row, others = await self._decode_for_company(lambda: self._first(images()))
            if asked is not PLAIN:
                self._enter(len(others), entered)
                entered += len(others)
                return await self._looked_into(row, others, priority, asked)
            if not others:
                found: Classification = await self.batcher.submit(row, priority=priority)
                return found
            self._enter(len(others), entered)
            entered += len(others)
            rows = [row, *await all_of([self._decode(prepare) for prepare in others])]
            return Classification.joined(await all_of([self.batcher.submit(row, priority=priority) for row in rows]))
        finally:
            self._inside -= entered

    async def _lone(self, images: Callable[[], Images]) -> Classification | tuple[Row, list[Callable[[], Row]]]:
        """Of a request that nobody else is beside: all of it in one thread, if it has one image only and nobody came meanwhile. Else
        its first one prepared, and what prepares the others.
        """
        turn = self.batcher.aside()
        self._alone_busy = True  # perhaps for longer than its caller stays
        done = asyncio.get_running_loop().run_in_executor(self._alone, self._whole, images, turn)
        done.add_done_callback(lambda ended: self._settle(turn, ended))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            turn.wanted = False
            raise

    def _settle(self, turn: Aside, ended: "asyncio.Future[Any]") -> None:
        self._alone_busy = False
        turn.end()
        if not ended.cancelled():
            ended.exception()  # looked at here, where its caller may have gone

    def _whole(self, images: Callable[[], Images], turn: Aside) -> Classification | tuple[Row, list[Callable[[], Row]]]:
        row, others = self._first(images())
        if others or self._inside > 1 or not turn.wanted:
            return row, others
        turn.begin()
        return self._classifier.rank(self._classifier.forward(stacked([row]), self.split.cores))

    async def _looked_into(
        self, first: Row, others: list[Callable[[], Row]], priority: int, asked: Asked
    ) -> Classification:
        """Of a request that asks for more than the usual; only those that want the same of a forward pass share one."""
        images = 1 + len(others)
        wanted = self._classifier.pass_of(asked, images) if asked.inspects else None
        weights = self._classifier.weights_of(asked, images)
        self._attention.take(weights)
        attention = None
        try:
            rows = [first, *await all_of([self._decode(one) for one in others])]
            work = [Watched(row, wanted) for row in rows] if wanted else rows
            parts = await all_of([self.batcher.submit(one, key=wanted, priority=priority) for one in work])
            result = await self._decode(lambda: self._classifier.finished(Classification.joined(parts), asked, rows))
            attention = result.attention
            return result
        finally:
            self._attention.leave(weights, attention)

    def _enter(self, rows: int, entered: int) -> None:
        """Count so many more rows of a request of which some are inside already. A request alone is never too large."""
        if self._inside > entered and self._inside + rows > self._most:
            raise self.batcher.refusal(self._inside)
        self._inside += rows

    def _first(self, images: Images) -> tuple[Row, list[Callable[[], Row]]]:
        """The first image, prepared at once because most requests have no other, and what prepares the others."""
        first, *others = self._classifier.rows(images)
        return first(), others

    def _decode(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return self._threads.run(work)

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

    async def _run(self, payloads: Sequence[Row | Watched], *, alone: bool) -> Sequence[Any]:
        threads = self.split.cores if alone and not self._decoding else self.split.threads
        return await self._threads.run(lambda: self._work(payloads, threads), urgent=True)

    def _work(self, rows: Sequence[Any], threads: int) -> list[Classification]:
        if isinstance(rows[0], Watched):  # then all of them are, and want the same
            return self._classifier.inspected([each.row for each in rows], rows[0].wanted, threads)
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
        self._threads.close()
        self._alone.shutdown(wait=False)
        # The batcher and this object hold each other until a collection comes by; the weights go at once.
        del self._classifier
