"""Bytes of one image file -> an RGB image, or a reason why not. Runs in a worker thread, never on the event loop.

What is converted, and how (as `PIL.Image.open(f).convert("RGB")`, timm's loader, does it, save for two rows):

| in the file            | becomes                                                             |
|------------------------|---------------------------------------------------------------------|
| several frames, pages  | the first one                                                       |
| EXIF orientation 2-8   | turned upright (timm's loader ignores it)                           |
| grey, 1 bit, CMYK, YCbCr, Lab, palette | RGB                                                 |
| alpha, transparency    | dropped, as Pillow does                                             |
| 16-bit grey            | the upper 8 bits (Pillow would clip every value above 255 to white) |
| 32-bit grey, float     | refused                                                             |
"""

import io
import warnings
from typing import Final

import numpy as np
from PIL import Image, ImageFile, ImageOps

from moorage_predictor.errors import ImageInvalid, PayloadTooLarge
from moorage_predictor.tasks.image_classification import structure

FORMATS: Final = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_UNSUPPORTED_MODES: Final = frozenset({"I", "F"})


def harden_pillow() -> None:
    """Process-wide: a decompression bomb is an error, a truncated file too. Called once, before the first image."""
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def opened(data: bytes, *, name: str, max_bytes: int, max_side: int) -> Image.Image:
    """The image with its header read and its pixels not. `name` says in messages which image of the request it is.

    Raises:
        PayloadTooLarge: more than `max_bytes`.
        ImageInvalid: not an image of an accepted format, or wider or higher than `max_side`, or put together so that it
            would cost far more to read than its pixels.
    """
    if len(data) > max_bytes:
        raise PayloadTooLarge(f"{name}: expected at most {max_bytes} bytes, found {len(data)}")
    if not data:
        raise ImageInvalid(f"{name}: expected an image, found 0 bytes")
    structure.check(data, name=name, max_side=max_side)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageInvalid(f"{name}: expected at most {max_side}x{max_side} pixels, found far more") from error
    except Exception as error:
        raise ImageInvalid(f"{name}: not an image in one of the formats {', '.join(FORMATS)}") from error
    try:
        if image.width > max_side or image.height > max_side:
            raise ImageInvalid(
                f"{name}: expected at most {max_side}x{max_side} pixels, found {image.width}x{image.height}"
            )
        if image.mode in _UNSUPPORTED_MODES:
            raise ImageInvalid(f"{name}: 32-bit pixels are not supported; convert the image to 8 or 16 bits")
    except ImageInvalid:
        image.close()
        raise
    return image


def upright(image: Image.Image, *, name: str) -> Image.Image:
    """Its pixels: the first frame, upright, RGB.

    Raises:
        ImageInvalid: they are damaged.
    """
    try:
        return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:
        raise ImageInvalid(f"{name}: the {image.format} image is truncated or corrupt") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
