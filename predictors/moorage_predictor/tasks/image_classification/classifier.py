"""The task itself: images in any of three forms -> the network's rows -> the best classes of each. Its steps are called
by `stages.py`, in threads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification.prepare import Prepare
from moorage_predictor.tasks.image_classification.preprocess import Row
from moorage_predictor.tasks.image_classification.types import EncodedImages, Images, PixelImages


class Forward(Protocol):
    """What the classifier needs of a network."""

    @property
    def data(self) -> DataConfig:
        """How its input is prepared."""

    @property
    def num_classes(self) -> int:
        """How many logits it gives."""

    def forward(self, batch: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """Logits [n, classes], made with so many cores; None is all."""


@dataclass(frozen=True)
class Limits:
    """What one image may be."""

    max_image_bytes: int
    max_image_side: int


@dataclass(frozen=True)
class Classification:
    """n images, the k best classes of each, best first."""

    class_id: NDArray[np.int64]
    confidence: NDArray[np.float32]
    class_name: NDArray[np.object_]
    logits: NDArray[np.float32]

    def apart(self) -> list["Classification"]:
        """Each image by itself."""
        return [self._of(slice(index, index + 1)) for index in range(len(self.logits))]

    def _of(self, rows: slice) -> "Classification":
        return Classification(self.class_id[rows], self.confidence[rows], self.class_name[rows], self.logits[rows])

    @classmethod
    def joined(cls, parts: Sequence["Classification"]) -> Self:
        """The inverse of `apart`."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


class ImageClassifier:
    """One loaded model. Safe to call from several threads."""

    def __init__(
        self,
        network: Forward,
        names: tuple[str, ...],
        *,
        top_k: int,
        limits: Limits,
        engine: Mapping[str, str] | None = None,
    ) -> None:
        self._network = network
        self.engine = dict(engine or {})
        """How the network runs, for the model's configuration."""
        self.names = names
        self._names = np.array(names, dtype=np.object_)
        self._prepare = Prepare(network.data, max_bytes=limits.max_image_bytes, max_side=limits.max_image_side)
        self._limits = limits
        self.top_k = min(top_k, network.num_classes)
        self.num_classes = network.num_classes
        self.input_size = network.data.size

    def __call__(self, inputs: Images) -> Classification:
        """Prepare, run, rank; one after the other.

        Raises:
            InvalidInput: an image, or the tensor, is not acceptable; the message says which and why.
        """
        return self.rank(self.forward(stacked([prepare() for prepare in self.rows(inputs)])))

    def rows(self, inputs: Images) -> list[Callable[[], Row]]:
        """For each image, in order, what prepares it; may be called in any thread, and raises `InvalidInput` if this image
        is not acceptable.

        Raises:
            InvalidInput: pixels or a tensor have a wrong shape.
        """
        if isinstance(inputs, EncodedImages):
            return [partial(self._prepared, index, file) for index, file in enumerate(inputs.files)]
        if isinstance(inputs, PixelImages):
            height, width = inputs.pixels.shape[1:3]
            if max(height, width) > self._limits.max_image_side:
                side = self._limits.max_image_side
                raise InvalidInput(f"image: expected at most {side}x{side} pixels, found {width}x{height}")
            return [partial(self._prepare.pixels, pixels) for pixels in inputs.pixels]
        expected = (3, *self.input_size)
        if inputs.tensor.shape[1:] != expected:
            raise InvalidInput(
                f"image: expected FP32 shape [n, {', '.join(map(str, expected))}], found {_shape(inputs.tensor)}"
            )
        return [partial(_itself, row) for row in inputs.tensor]

    def forward(self, batch: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """Logits [n, classes] of [n, 3, height, width], made with so many cores."""
        return self._network.forward(batch, threads)

    def blank(self) -> NDArray[np.float32]:
        """One row of nothing, [1, 3, height, width]."""
        return np.zeros((1, 3, *self.input_size), dtype=np.float32)

    def rank(self, logits: NDArray[np.float32]) -> Classification:
        """The best classes of each row of logits, [n, classes]."""
        # A stable sort of the negated logits: equal confidences keep the order of their class numbers.
        best = np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k]
        confidence = np.take_along_axis(_softmax(logits), best, axis=1)
        return Classification(best.astype(np.int64), confidence, self._names[best], logits)

    def _prepared(self, index: int, file: bytes) -> Row:
        return self._prepare.file(file, name=f"image {index}")


def stacked(rows: Sequence[Row]) -> NDArray[np.float32]:
    """Rows as one batch, [n, 3, height, width]; a single one is not copied."""
    return np.ascontiguousarray(rows[0])[None] if len(rows) == 1 else np.stack(rows)


def _itself(row: Row) -> Row:
    return row


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def _shape(array: NDArray[np.float32]) -> str:
    return f"[{', '.join(map(str, array.shape))}]"
