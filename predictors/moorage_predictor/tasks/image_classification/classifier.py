"""The task itself: images in any of three forms -> the network's rows -> the best classes of each. Its steps are called
by `stages.py`, in threads.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import attention
from moorage_predictor.tasks.image_classification.asked import PLAIN, Asked, Attention
from moorage_predictor.tasks.image_classification.prepare import Prepare
from moorage_predictor.tasks.image_classification.preprocess import Row
from moorage_predictor.tasks.image_classification.types import EncodedImages, Images, PixelImages

if TYPE_CHECKING:
    from moorage_predictor.engine.inspection import Inspectable, Pass


MAX_ATTENTION_VALUES: Final = 1 << 24
"""64 MiB of float32."""
MAX_ATTENTION_VALUES_AS_TEXT: Final = 1 << 21
"""About 30 MB of JSON; the mean over heads of one image of up to 1447 tokens."""


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
    features: NDArray[np.float32] | None = None
    """[n, dimensions]"""
    attention: NDArray[np.float32] | None = None
    """[n, heads or 1, tokens, tokens]; or, of a map, [n, heads or 1, height, width]"""
    overlay: NDArray[np.object_] | None = None
    """PNG files, [n]"""

    def apart(self) -> list["Classification"]:
        """Each image by itself."""
        return [self._of(slice(index, index + 1)) for index in range(len(self.logits))]

    def _of(self, rows: slice) -> "Classification":
        usual = self.class_id[rows], self.confidence[rows], self.class_name[rows], self.logits[rows]
        if self.features is None and self.attention is None:
            return Classification(*usual)
        features = None if self.features is None else self.features[rows]
        return Classification(*usual, features, None if self.attention is None else self.attention[rows])

    @classmethod
    def joined(cls, parts: Sequence["Classification"]) -> Self:
        """The inverse of `apart`, of parts that were asked for the same."""
        columns = [[getattr(part, field.name) for part in parts] for field in fields(cls)]
        joined: list[Any] = [None if column[0] is None else np.concatenate(column) for column in columns]
        return cls(*joined)


class ImageClassifier:
    """One loaded model. Safe to call from several threads."""

    def __init__(
        self,
        network: Forward,
        names: tuple[str, ...],
        *,
        top_k: int,
        limits: Limits,
        threshold: float = 0.0,
        engine: Mapping[str, str] | None = None,
        inspect: "Inspectable | None" = None,
    ) -> None:
        self._network = network
        self.inspect = inspect
        """What gives features and attention; None: nobody may ask for them."""
        self.engine = dict(engine or {})
        """How the network runs, for the model's configuration."""
        self.names = names
        self._names = np.array(names, dtype=np.object_)
        self._prepare = Prepare(network.data, max_bytes=limits.max_image_bytes, max_side=limits.max_image_side)
        self._limits = limits
        self.top_k = min(top_k, network.num_classes)
        self.usual = Asked(threshold=threshold) if threshold and network.num_classes else PLAIN
        """What a request gets that says nothing."""
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

    def rank(self, logits: NDArray[np.float32], asked: Asked = PLAIN) -> Classification:
        """The best classes of each row of logits, [n, classes]. Where fewer reach the threshold, the rest of a row are class
        -1 without a name, of confidence 0."""
        if not self.num_classes:  # then what passed for logits are features
            logits = logits[:, :0]
        # A stable sort of the negated logits: equal confidences keep the order of their class numbers.
        best = np.argsort(-logits, axis=1, kind="stable")[:, : asked.top_k or self.top_k]
        confidence = np.take_along_axis(_softmax(logits), best, axis=1)
        found = Classification(best.astype(np.int64), confidence, self._names[best], logits)
        return found if asked.threshold == 0 else _sure(found, asked.threshold)

    def inspected(self, rows: Sequence[Row], wanted: "Pass", threads: int | None = None) -> list[Classification]:
        """The best classes of each row and what else is wanted, of one pass with so many cores."""
        assert self.inspect is not None
        found = self.inspect.run(stacked(rows), wanted, threads)
        ranked = replace(self.rank(found.logits), features=found.features, attention=found.attention)
        return ranked.apart()

    def pass_of(self, asked: Asked, images: int = 1) -> "Pass":
        """The forward pass that gives what is asked for, for so many images of one request.

        Raises:
            InvalidInput: the network has no such layer; or as `weights_of`.
        """
        from moorage_predictor.engine.inspection import Pass

        tokens = self.inspect.tokens if self.inspect else None
        if asked.attention is None or tokens is None:
            return Pass(asked.features)
        layer, layers = asked.attention.layer, tokens.layers
        if not -layers <= layer < layers:
            raise InvalidInput(f"parameters.attention_layer: expected {-layers} to {layers - 1}, found {layer}")
        self.weights_of(asked, images)
        return Pass(asked.features, layer % layers, asked.attention.per_head)

    def weights_of(self, asked: Asked, images: int) -> int:
        """How many attention weights so many images of one request have in memory at a time; what is written out counts as
        the four that it is as large as.

        Raises:
            InvalidInput: too many for one answer.
        """
        tokens = self.inspect.tokens if self.inspect else None
        if asked.attention is None or tokens is None:
            return 0
        each = max(tokens.count**2, math.prod(self.input_size) if asked.attention.form == "map" else 0)
        values = images * (tokens.heads if asked.attention.per_head else 1) * each
        written = asked.attention.as_text and asked.attention.numbers
        most = MAX_ATTENTION_VALUES_AS_TEXT if written else MAX_ATTENTION_VALUES
        if values > most:
            kind, otherwise = ("one answer in JSON", ", or ask for bytes") if written else ("one answer", "")
            raise InvalidInput(
                f"attention: expected at most {most} values in {kind}, found {values}: send fewer images{otherwise}"
            )
        return 4 * values if written else values

    def finished(self, result: Classification, asked: Asked, rows: Sequence[Row]) -> Classification:
        """The result in the form that this request asked for; `rows` are its prepared images."""
        if asked.reranks and self.num_classes:
            result = replace(self.rank(result.logits, asked), features=result.features, attention=result.attention)
        if result.features is not None and asked.normalised:
            length = np.linalg.norm(result.features, axis=1, keepdims=True)
            result = replace(result, features=result.features / np.maximum(length, np.finfo(np.float32).tiny))
        if result.attention is not None and asked.attention is not None:
            result = self._looked_at(result, result.attention, asked.attention, rows)
        return result

    def _looked_at(
        self, result: Classification, weights: NDArray[np.float32], asked: Attention, rows: Sequence[Row]
    ) -> Classification:
        assert self.inspect is not None
        tokens = self.inspect.tokens
        assert tokens is not None
        overlay = None
        if asked.overlay:
            heats = [attention.heat_map(each.mean(0, keepdims=True), tokens, self.input_size)[0] for each in weights]
            overlay = np.empty(len(rows), dtype=np.object_)
            overlay[:] = [
                attention.overlay(heat, row, self._network.data) for heat, row in zip(heats, rows, strict=True)
            ]
        if not asked.numbers:
            return replace(result, attention=None, overlay=overlay)
        if asked.form == "map":
            weights = np.stack([attention.heat_map(each, tokens, self.input_size) for each in weights])
        elif not asked.registers:
            weights = np.stack([attention.without_registers(each, tokens) for each in weights])
        return replace(result, attention=weights, overlay=overlay)

    def _prepared(self, index: int, file: bytes) -> Row:
        return self._prepare.file(file, name=f"image {index}")


def stacked(rows: Sequence[Row]) -> NDArray[np.float32]:
    """Rows as one batch, [n, 3, height, width]; a single one is not copied."""
    return np.ascontiguousarray(rows[0])[None] if len(rows) == 1 else np.stack(rows)


def _itself(row: Row) -> Row:
    return row


def _sure(found: Classification, threshold: float) -> Classification:
    unsure = found.confidence < threshold
    return replace(
        found,
        class_id=np.where(unsure, -1, found.class_id),
        confidence=np.where(unsure, np.float32(0), found.confidence),
        class_name=np.where(unsure, "", found.class_name),
    )


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    if not logits.shape[1]:
        return logits
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def _shape(array: NDArray[np.float32]) -> str:
    return f"[{', '.join(map(str, array.shape))}]"
