"""Bytes of one image file -> an RGB image, or a reason why not. Runs in a worker thread, never on the event loop.

What is converted, and how (as `PIL.Image.open(f).convert("RGB")`, timm's loader, does it, save for three rows):

| in the file            | becomes                                                             |
|------------------------|---------------------------------------------------------------------|
| several frames, pages  | the first one                                                       |
| EXIF orientation 2-8   | turned upright (timm's loader ignores it)                           |
| grey, 1 bit, CMYK, YCbCr, Lab, palette | RGB                                                 |
| alpha, transparency    | dropped, as Pillow does                                             |
| grey of 12, 16 bits    | its upper 8 bits (Pillow would clip every value above 255 to white) |
| 16 bits, 0 is white    | turned round, as Pillow does it for 8 bits                          |
| 32-bit, signed, float  | refused                                                             |
"""

import io
import warnings
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps

from moorage_predictor.errors import ImageInvalid, PayloadTooLarge
from moorage_predictor.tasks.image_classification import structure

FORMATS: Final = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
_UNSUPPORTED_MODES: Final = frozenset({"I", "F"})
_WHITE_IS_ZERO: Final = 0


def harden_pillow(max_side: int) -> None:
    """Process-wide: a decompression bomb is an error, a truncated file too. Called once for each model, before its first image.

    Pillow's own limit, of 89 million pixels, stands for whoever has none. It makes room only where a model's is wider, and
    only so far: formats ask for it while they decode, too, so that a file cannot be opened around it.
    """
    whole_tiles = -(-max_side // 16) * 16  # of a TIFF, whose size Pillow compares too
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, whole_tiles * whole_tiles)
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
            raise ImageInvalid(
                f"{name}: expected pixels of at most 16 bits without a sign, found signed, 32-bit or float ones; convert the image"
            )
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
        turned = ImageOps.exif_transpose(image)
        return _to_rgb(_eight_bits(turned, image) if image.mode.startswith("I;16") else turned)
    except Exception as error:
        raise ImageInvalid(f"{name}: the {image.format} image is truncated or corrupt") from error


def _eight_bits(image: Image.Image, file: Image.Image) -> Image.Image:
    """Pillow has unpacked the values of the file, whatever number of bits each had there; only TIFF has others than 16."""
    tags = getattr(file, "tag_v2", {})
    (bits,) = tags.get(ExifTags.Base.BitsPerSample, (16,))
    grey = (np.asarray(image).astype(np.uint16) >> (bits - 8)).astype(np.uint8)
    white_is_zero = tags.get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO
    return Image.fromarray(255 - grey if white_is_zero else grey)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
