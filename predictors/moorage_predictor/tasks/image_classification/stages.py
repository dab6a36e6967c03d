"""Images of many requests through one classifier, its stages side by side. Called by `wire/model.py`, on the event loop.

    request -> queue -> a batch in a forward thread: read and prepare each, take who came meanwhile, forward, rank -> its own request

A lone image passes no queue, and gets all cores for its forward pass. When images abound, several passes run at a time, as
`engine.split` measured, and each prepares its own images with as many cores as it has: handing an image from thread to thread
takes longer than one might think. Only the further images of a request, which one bad image among them fails as a whole, and
what is asked for beside classes are prepared in decode threads.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import numpy as np

from moorage_predictor.batching import DEFAULT_PRIORITY, Aside, Batcher, BatchLimits, Turn
from moorage_predictor.engine import split as splits
from moorage_predictor.tasks.image_classification import preprocess
from moorage_predictor.tasks.image_classification.asked import PLAIN, Asked
from moorage_predictor.tasks.image_classification.classifier import Classification, ImageClassifier, stacked
from moorage_predictor.tasks.image_classification.preprocess import Row
from moorage_predictor.tasks.image_classification.room import Room
from moorage_predictor.tasks.image_classification.types import Images
from moorage_predictor.telemetry.record import CURRENT

if TYPE_CHECKING:
    from moorage_predictor.engine.inspection import Pass

_log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BATCH_SIZE: Final = 8
"""Rows of a batch, if nobody says how many: more gain little on a CPU and delay everybody."""
_IDLE_S: Final = 0.5
"""The cores are measured when no image has come for so long: not while somebody waits for the first answers."""


Others = list[Callable[[], Row]]
"""What prepares the further images of a request."""


class Watched(NamedTuple):
    """A row of a request that wants more of its forward pass than the logits."""

    row: Row
    wanted: "Pass"


class Unread:
    """A request whose images are read when a forward pass is about to begin."""

    __slots__ = ("found", "images", "record", "wanted")

    def __init__(self, images: Callable[[], Images]) -> None:
        self.images = images
        self.record = CURRENT.get()
        self.wanted = True
        """Whether its caller still waits."""
        self.found: Row | tuple[Row, Others] | Exception | None = None


class Stages:
    """Of one classifier."""

    def __init__(self, classifier: ImageClassifier, limits: BatchLimits, cores: int) -> None:
        """Of `limits`, the workers are measured later; until then there is one a core."""
        self._classifier = classifier
        self.split = splits.Split(workers=cores, threads=1, cores=cores)
        self._most = limits.max_queue_size + cores * limits.max_batch_size
        self._inside = 0
        self._attention = Room()
        self._decoders = ThreadPoolExecutor(cores, "decode", preprocess.on_one_core)
        # One more than there are cores, for a lone image that is still being decoded when others come.
        self._forwards = ThreadPoolExecutor(cores + 1, "forward", preprocess.on_one_core)
        # What may wait is counted here and not by the queue: what will be refused need not be decoded.
        limits = replace(limits, max_queue_size=sys.maxsize, workers=cores)
        self.batcher: Batcher[Row | Watched | Unread] = Batcher(self._run, limits)

    async def classify(
        self, images: Callable[[], Images], priority: int = DEFAULT_PRIORITY, asked: Asked = PLAIN
    ) -> Classification:
        """The best classes of each image, and what else is asked for. `images` is called in another thread. Who is cancelled
        is not computed.

        Raises:
            InvalidInput: an image is not acceptable; none of the request's is computed then.
            Overloaded: the queue is full, or memory is of others' attention weights; at most the first image was decoded.
        """
        self._enter(1, 0)
        entered = 1
        try:
            await asyncio.sleep(0)  # who came in the same turn of the loop is company
            if asked is not PLAIN:
                row, others = await self._decode(lambda: self._first(images()))
                self._enter(len(others), entered)
                entered += len(others)
                return await self._looked_into(row, others, priority, asked)
            lone = self._inside == 1 and not self.batcher.running
            done = await (self._lone(images) if lone else self._among_others(images, priority))
            if isinstance(done, Classification):
                return done
            row, others = done
            if not others:
                found: Classification = await self.batcher.submit(row, priority=priority)
                return found
            self._enter(len(others), entered)
            entered += len(others)
            rows = [row, *await _all([self._decode(prepare) for prepare in others])]
            return Classification.joined(await _all([self.batcher.submit(row, priority=priority) for row in rows]))
        finally:
            self._inside -= entered

    async def _among_others(self, images: Callable[[], Images], priority: int) -> Classification | tuple[Row, Others]:
        """Of a request that has one image, or of another the first one prepared, and what prepares the others."""
        unread = Unread(images)
        try:
            done: Classification | tuple[Row, Others] = await self.batcher.submit(unread, priority=priority)
            return done
        except asyncio.CancelledError:
            unread.wanted = False
            raise

    async def _lone(self, images: Callable[[], Images]) -> Classification | tuple[Row, Others]:
        """Of a request that nobody else is beside: all of it in one thread, if it has one image only and nobody came meanwhile. Else
        its first one prepared, and what prepares the others.
        """
        turn = self.batcher.aside()
        done = asyncio.get_running_loop().run_in_executor(self._forwards, self._whole, images, turn)
        done.add_done_callback(lambda ended: _settle(turn, ended))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            turn.wanted = False
            raise

    def _whole(self, images: Callable[[], Images], turn: Aside) -> Classification | tuple[Row, Others]:
        row, others = self._first(images())
        if others or self._inside > 1 or not turn.wanted:
            return row, others
        turn.begin()
        return self._classifier.rank(self._classifier.forward(stacked([row]), self.split.cores))

    async def _looked_into(self, first: Row, others: Others, priority: int, asked: Asked) -> Classification:
        """Of a request that asks for more than the usual; only those that want the same of a forward pass share one."""
        images = 1 + len(others)
        wanted = self._classifier.pass_of(asked, images) if asked.inspects else None
        weights = self._classifier.weights_of(asked, images)
        self._attention.take(weights)
        attention = None
        try:
            rows = [first, *await _all([self._decode(one) for one in others])]
            work = [Watched(row, wanted) for row in rows] if wanted else rows
            parts = await _all([self.batcher.submit(one, key=wanted, priority=priority) for one in work])
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

    def _first(self, images: Images) -> tuple[Row, Others]:
        """The first image, prepared at once because most requests have no other, and what prepares the others."""
        first, *others = self._classifier.rows(images)
        return first(), others

    def _decode(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._decoders, work)

    async def _run(
        self, payloads: Sequence[Row | Watched | Unread], turn: Turn[Row | Watched | Unread]
    ) -> Sequence[Any]:
        return await asyncio.get_running_loop().run_in_executor(self._forwards, self._work, payloads, turn)

    def _work(self, payloads: Sequence[Any], turn: Turn[Any]) -> list[Any]:
        found: list[Any] = []
        records = []
        while payloads:
            records += [each.record for each in payloads if isinstance(each, Unread) and each.record is not None]
            found += self._prepared(payloads)
            payloads = turn.join()
        threads = self.split.cores if turn.alone else self.split.threads
        if isinstance(found[0], Watched):  # then all of them are, and want the same
            return list(self._classifier.inspected([each.row for each in found], found[0].wanted, threads))
        rows = [index for index, each in enumerate(found) if isinstance(each, np.ndarray)]
        now = perf_counter_ns()
        for record in records:
            record.taken = now
        if rows:
            logits = self._classifier.forward(stacked([found[index] for index in rows]), threads)
            for index, one in zip(rows, self._classifier.rank(logits).apart(), strict=True):
                found[index] = one
        return found

    def _prepared(self, payloads: Sequence[Any]) -> list[Any]:
        if self.split.threads > 1 and len(payloads) > 1:
            return list(self._decoders.map(self._read, payloads))
        return [self._read(each) for each in payloads]

    def _read(self, payload: Any) -> Any:
        """The row of a request with one image; else why it cannot be classified now."""
        if not isinstance(payload, Unread):
            return payload
        if payload.found is None:  # else its batch failed, and it runs by itself
            if not payload.wanted:
                return asyncio.CancelledError()
            began = perf_counter_ns()
            try:
                row, others = self._first(payload.images())
                payload.found = (row, others) if others else row
            except Exception as error:  # noqa: BLE001 - handed to its caller
                payload.found = error
            if payload.record is not None:  # it was not in the queue meanwhile
                payload.record.entered += perf_counter_ns() - began
        return payload.found

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


def _settle(turn: Aside, ended: "asyncio.Future[Any]") -> None:
    turn.end()
    if not ended.cancelled():
        ended.exception()  # looked at here, where its caller may have gone


async def _all(futures: Sequence["asyncio.Future[T]"]) -> list[T]:
    """All results; when one fails the others are no longer wanted."""
    try:
        return await asyncio.gather(*futures)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
