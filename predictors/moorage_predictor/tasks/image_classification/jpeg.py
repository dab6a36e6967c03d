"""JPEG, the format nearly all photos have, by libjpeg-turbo without Pillow's detours. Called by `prepare`.

Pillow has read the header by then, so every limit was checked. Whatever is unusual, and whatever libjpeg-turbo so much as
warns of, is left to Pillow, which decides as it does for the other formats. Decoding holds no lock of the interpreter.
"""

from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

_FORMATS: Final = ("JPEG", "MPO")  # MPO: the JPEG of a camera that put further pictures behind it
_MODES: Final = ("RGB", "L")
_SIDEWAYS: Final = (5, 6, 7, 8)
_SHARPNESS: Final = 2
"""How many times larger than the result a picture that was decoded at a fraction of its size must still be."""


def upright_size(image: Image.Image) -> tuple[int, int] | None:
    """Height and width as people see it, of a picture whose header was read; None if this module leaves it to Pillow."""
    if image.format not in _FORMATS or image.mode not in _MODES:
        return None
    return image.size if _orientation(image) in _SIDEWAYS else image.size[::-1]


def decode(data: bytes, image: Image.Image, target: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Upright RGB pixels [height, width, 3] to be resized to `target` (height, width); None: let Pillow try.

    A large picture comes at a half, a quarter or an eighth of its size, which spares most of the work.
    """
    orientation = _orientation(image)
    height, width = target[::-1] if orientation in _SIDEWAYS else target
    factor = max(
        (
            2**power
            for power in (1, 2, 3)
            if _fits(image.height, height, 2**power) and _fits(image.width, width, 2**power)
        ),
        default=1,
    )
    try:
        # Two readers of one header: the pixels are allocated for what this one found.
        if simplejpeg.decode_jpeg_header(data)[:2] != (image.height, image.width):
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-image.height // factor), min_width=-(-image.width // factor)
        )
    except ValueError:  # also what libjpeg-turbo only warns of, such as a file that ends too early
        return None
    return np.ascontiguousarray(_turned(pixels, orientation))


def _fits(side: int, target: int, factor: int) -> bool:
    return side >= _SHARPNESS * target * factor


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """As `ImageOps.exif_transpose` does it."""
    if orientation in (2, 3):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4):
        pixels = pixels[::-1]
    if orientation in (7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (6, 7):
        pixels = pixels[::-1]
    return pixels.transpose(1, 0, 2) if orientation in _SIDEWAYS else pixels
