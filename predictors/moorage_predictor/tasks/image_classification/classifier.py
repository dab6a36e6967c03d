"""The task itself: images in any of three forms -> the best classes of each. Called by `wire/model.py` in a worker."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import images
from moorage_predictor.tasks.image_classification.preprocess import Preprocess
from moorage_predictor.tasks.image_classification.types import EncodedImages, Images, PixelImages


class Forward(Protocol):
    """What the classifier needs of a network."""

    @property
    def data(self) -> DataConfig:
        """How its input is prepared."""

    @property
    def num_classes(self) -> int:
        """How many logits it gives."""

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [n, classes]."""


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


class ImageClassifier:
    """One loaded model. Safe to call from several threads."""

    def __init__(self, network: Forward, names: tuple[str, ...], *, top_k: int, limits: Limits) -> None:
        self._network = network
        self.names = names
        self._names = np.array(names, dtype=np.object_)
        self._preprocess = Preprocess(network.data)
        self._limits = limits
        self.top_k = min(top_k, network.num_classes)
        self.num_classes = network.num_classes
        self.input_size = network.data.size
        images.harden_pillow()

    def __call__(self, inputs: Images) -> Classification:
        """Decode, prepare, run, rank.

        Raises:
            InvalidInput: an image, or the tensor, is not acceptable; the message says which and why.
        """
        logits = self._network.forward(self._batch(inputs))
        # A stable sort of the negated logits: equal confidences keep the order of their class numbers.
        best = np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k]
        confidence = np.take_along_axis(_softmax(logits), best, axis=1)
        return Classification(best.astype(np.int64), confidence, self._names[best], logits)

    def _batch(self, inputs: Images) -> NDArray[np.float32]:
        if isinstance(inputs, EncodedImages):
            return np.stack([self._preprocess(self._decode(i, data)) for i, data in enumerate(inputs.files)])
        if isinstance(inputs, PixelImages):
            height, width = inputs.pixels.shape[1:3]
            if max(height, width) > self._limits.max_image_side:
                side = self._limits.max_image_side
                raise InvalidInput(f"image: expected at most {side}x{side} pixels, found {width}x{height}")
            return np.stack([self._preprocess(Image.fromarray(pixels)) for pixels in inputs.pixels])
        expected = (3, *self.input_size)
        if inputs.tensor.shape[1:] != expected:
            raise InvalidInput(
                f"image: expected FP32 shape [n, {', '.join(map(str, expected))}], found {_shape(inputs.tensor)}"
            )
        return np.ascontiguousarray(inputs.tensor)

    def _decode(self, index: int, data: bytes) -> Image.Image:
        return images.decode(
            data,
            name=f"image {index}",
            max_bytes=self._limits.max_image_bytes,
            max_side=self._limits.max_image_side,
        )


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponents / exponents.sum(axis=1, keepdims=True)
    return probabilities


def _shape(array: NDArray[np.float32]) -> str:
    return f"[{', '.join(map(str, array.shape))}]"
