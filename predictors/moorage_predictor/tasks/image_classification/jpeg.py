"""JPEG, the format nearly all photos have, by libjpeg-turbo without Pillow's detours. Called by `prepare`.

Pillow has read the header by then, so every limit was checked. Whatever is unusual, and whatever libjpeg-turbo so much as
warns of, is left to Pillow, which decides as it does for the other formats. Decoding holds no lock of the interpreter.

Pictures are decoded at their full size. At a half or a quarter of it libjpeg-turbo is faster still, but where the result
was four or six times as large as needed, probabilities moved by 0.01 and more.
"""

from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image

_FORMATS: Final = ("JPEG", "MPO")  # MPO: the JPEG of a camera that put further pictures behind it
_MODES: Final = ("RGB", "L")
_SIDEWAYS: Final = (5, 6, 7, 8)


def decode(data: bytes, image: Image.Image) -> NDArray[np.uint8] | None:
    """Upright RGB pixels [height, width, 3] of `data`, whose header `image` has; None: let Pillow try."""
    if image.format not in _FORMATS or image.mode not in _MODES:
        return None
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - EXIF can be broken in any way; Pillow meets the same and says so
        return None
    try:
        # Two readers of one header: the pixels are allocated for what this one found.
        if simplejpeg.decode_jpeg_header(data)[:2] != (image.height, image.width):
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError:  # also what libjpeg-turbo only warns of, such as a file that ends too early
        return None
    return np.ascontiguousarray(_turned(pixels, orientation))


def _turned(pixels: NDArray[np.uint8], orientation: object) -> NDArray[np.uint8]:
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
