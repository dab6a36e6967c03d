"""One image file -> the network's input. Called by the classifier, in a thread that computes; most of it holds no lock.

header (Pillow, limits) ──> JPEG as photos are ──> jpeg.decode ──> Preprocess.quick ──┐
                        └─> all else ────────────> images.upright ──> Preprocess ─────┴──> float32 [3, h, w]
"""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.tasks.image_classification import images, jpeg, preprocess
from moorage_predictor.tasks.image_classification.preprocess import Preprocess, Row

_SMALL: Final = DataConfig(input_size=(3, 8, 8), mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic", crop_pct=1.0)


def warm_up() -> None:
    """What the first image would have to wait for: torch, which resizes it, takes a second or two to import, and networks that
    another engine runs do not need it before.
    """
    preprocess.on_one_core()
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG")
    Prepare(_SMALL, max_bytes=1 << 20, max_side=16).file(file.getvalue(), name="image")


class Prepare:
    """For one data config and one set of limits. Safe to call from several threads."""

    def __init__(self, config: DataConfig, *, max_bytes: int, max_side: int) -> None:
        self._preprocess = Preprocess(config)
        self._max_bytes = max_bytes
        self._max_side = max_side
        images.harden_pillow(max_side)

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
