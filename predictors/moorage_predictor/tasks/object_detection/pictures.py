"""Files and pixels -> upright RGB pixels, as images are decoded for classification: the same formats, limits and
conversions (`tasks/image_classification/images.py` has the table). Called by `detector.py`, in decode threads.
"""

from typing import Final

import numpy as np

from moorage_predictor.errors import ImageInvalid, InvalidInput
from moorage_predictor.tasks.image_classification import EncodedImages, Images, Limits, PixelImages, jpeg
from moorage_predictor.tasks.image_classification import images as files
from moorage_predictor.tasks.object_detection.types import Pixels

_LEAST_SIDE: Final = 2
"""A box in a line of pixels says nothing."""


class Pictures:
    """Of the requests to one model. Safe to call from several threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        files.harden_pillow(limits.max_image_side)

    def count(self, inputs: Images) -> int:
        """How many there are.

        Raises:
            InvalidInput: they are a prepared tensor, or pixels of a picture that is too large.
        """
        if isinstance(inputs, EncodedImages):
            return len(inputs.files)
        if not isinstance(inputs, PixelImages):
            raise InvalidInput(
                "image: expected datatype BYTES or UINT8, found FP32: pictures are prepared by the server"
            )
        height, width = inputs.pixels.shape[1:3]
        most = self._limits.max_image_side
        if max(height, width) > most:
            raise InvalidInput(f"image: expected at most {most}x{most} pixels, found {width}x{height}")
        return len(inputs.pixels)

    def pixels(self, inputs: Images, index: int) -> Pixels:
        """One of them.

        Raises:
            PayloadTooLarge: a file of more bytes than allowed.
            ImageInvalid: no image of an accepted format, damaged, too large, or a line.
        """
        name = f"image {index}"
        found = self._decoded(inputs.files[index], name) if isinstance(inputs, EncodedImages) else _given(inputs, index)
        if min(found.shape[:2]) < _LEAST_SIDE:
            size = f"{found.shape[1]}x{found.shape[0]}"
            raise ImageInvalid(f"{name}: expected at least {_LEAST_SIDE}x{_LEAST_SIDE} pixels, found {size}")
        return found

    def _decoded(self, data: bytes, name: str) -> Pixels:
        limits = self._limits
        with files.opened(data, name=name, max_bytes=limits.max_image_bytes, max_side=limits.max_image_side) as image:
            pixels = jpeg.decode(data, image)
            return np.array(files.upright(image, name=name), dtype=np.uint8) if pixels is None else pixels


def _given(inputs: Images, index: int) -> Pixels:
    if not isinstance(inputs, PixelImages):
        raise InvalidInput("image: expected datatype BYTES or UINT8")
    one: Pixels = inputs.pixels[index]
    return one
