"""One image file -> the network's input. Called by the classifier, in a decode thread; most of it holds no lock.

header (Pillow, limits) ──> JPEG as photos are ──> jpeg.decode ──> Preprocess.quick ──┐
                        └─> all else ────────────> images.upright ──> Preprocess ─────┴──> float32 [3, h, w]
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.tasks.image_classification import images, jpeg
from moorage_predictor.tasks.image_classification.preprocess import Preprocess, Row


class Prepare:
    """For one data config and one set of limits. Safe to call from several threads."""

    def __init__(self, config: DataConfig, *, max_bytes: int, max_side: int) -> None:
        self._preprocess = Preprocess(config)
        self._max_bytes = max_bytes
        self._max_side = max_side
        images.harden_pillow()

    def file(self, data: bytes, *, name: str, out: Row | None = None) -> Row:
        """The input [3, height, width], written into `out` if that is given. `name` says in messages which image it is.

        Raises:
            PayloadTooLarge: more than `max_bytes`.
            ImageInvalid: not an image of an accepted format, damaged, too large or too narrow.
        """
        with images.opened(data, name=name, max_bytes=self._max_bytes, max_side=self._max_side) as image:
            pixels = jpeg.decode(data, image)
            if pixels is None:
                return self._preprocess(images.upright(image, name=name), out)
        return self._preprocess.quick(pixels, out)

    def pixels(self, pixels: NDArray[np.uint8], out: Row | None = None) -> Row:
        """The same from RGB pixels [height, width, 3].

        Raises:
            ImageInvalid: too narrow.
        """
        return self._preprocess(Image.fromarray(pixels), out)
