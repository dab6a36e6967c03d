"""RGB image -> float32 CHW, equal to timm's evaluation transform for the same data config, with Pillow and numpy alone.

timm's own needs torchvision's transforms; this is the same arithmetic in the same order (a test compares them).

    center: shortest side to size/crop_pct, crop the middle        squash: both sides to size/crop_pct, crop the middle
    border: longest side to size/crop_pct, pad with the mean colour
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import ImageInvalid

MAX_RESIZED_PIXELS: Final = 4096 * 4096
"""A picture of 4096 by 1 pixels would grow to a million by 256 before its middle is cut out."""

_RESAMPLING: Final = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}


class Preprocess:
    """The transform of one data config. Safe to call from several threads."""

    def __init__(self, config: DataConfig) -> None:
        self._config = config
        self._resampling = _RESAMPLING[config.interpolation]
        self._scaled = tuple(math.floor(side / config.crop_pct) for side in config.size)
        self._fill = tuple(round(255 * value) for value in config.mean) if config.crop_mode == "border" else (0, 0, 0)
        self._mean = np.array(config.mean, dtype=np.float32).reshape(3, 1, 1)
        self._std = np.array(config.std, dtype=np.float32).reshape(3, 1, 1)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Resize, crop, normalise.

        Raises:
            ImageInvalid: it is so narrow that it would grow beyond MAX_RESIZED_PIXELS.
        """
        cropped = self._crop(self._resize(image))
        pixels = np.asarray(cropped, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
        normalised: NDArray[np.float32] = np.ascontiguousarray((pixels - self._mean) / self._std)
        return normalised

    def _resize(self, image: Image.Image) -> Image.Image:
        height, width = self._target(image.height, image.width)
        if (width, height) == image.size:
            return image
        if width * height > MAX_RESIZED_PIXELS:
            raise ImageInvalid(f"image: {image.width}x{image.height} pixels are too narrow for this model")
        return image.resize((width, height), self._resampling)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        scaled_height, scaled_width = self._scaled
        if self._config.crop_mode == "squash":
            return scaled_height, scaled_width
        if self._config.crop_mode == "border":
            ratio = max(height / scaled_height, width / scaled_width)
        elif scaled_height != scaled_width:
            ratio = min(height / scaled_height, width / scaled_width)
        elif height <= width:  # torchvision truncates the longer side where timm's own resize rounds it
            return scaled_height, max(1, int(scaled_height * width / height))
        else:
            return max(1, int(scaled_height * height / width)), scaled_height
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def _crop(self, image: Image.Image) -> Image.Image:
        height, width = self._config.size
        short_height, short_width = max(0, height - image.height), max(0, width - image.width)
        if short_height or short_width:
            padded = Image.new("RGB", (image.width + short_width, image.height + short_height), self._fill)
            padded.paste(image, (short_width // 2, short_height // 2))
            image = padded
        top, left = round((image.height - height) / 2), round((image.width - width) / 2)
        return image.crop((left, top, left + width, top + height))
