"""RGB image -> float32 CHW, equal to timm's evaluation transform for the same data config, without torchvision.

timm's own needs torchvision's transforms; this is the same arithmetic (a test compares them).

    center: shortest side to size/crop_pct, crop the middle        squash: both sides to size/crop_pct, crop the middle
    border: longest side to size/crop_pct, pad with the mean colour
"""

import math
import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moorage_predictor.engine.backends.eager import set_threads
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


_TORCH_MODES: Final = ("bilinear", "bicubic")
"""What torch interpolates in bytes, with Pillow's filters to within a step or two, several times as fast."""

_thread: Final = threading.local()

Row = NDArray[np.float32]
"""One image as the network takes it, [3, height, width]."""


class Preprocess:
    """The transform of one data config. Safe to call from several threads."""

    def __init__(self, config: DataConfig) -> None:
        self._config = config
        self._resampling = _RESAMPLING[config.interpolation]
        self._scaled = tuple(math.floor(side / config.crop_pct) for side in config.size)
        self._fill = tuple(round(255 * value) for value in config.mean) if config.crop_mode == "border" else (0, 0, 0)
        mean = np.array(config.mean, dtype=np.float64).reshape(3, 1, 1)
        std = np.array(config.std, dtype=np.float64).reshape(3, 1, 1)
        # (pixel / 255 - mean) / std, as one multiplication and one addition
        self._scale = (1 / (255 * std)).astype(np.float32)
        self._shift = (-mean / std).astype(np.float32)

    def __call__(self, image: Image.Image, out: Row | None = None) -> Row:
        """Resize, crop, normalise; into `out` if that is given.

        Raises:
            ImageInvalid: it is so narrow that it would grow beyond MAX_RESIZED_PIXELS.
        """
        height, width = self.target(image.height, image.width)
        if (width, height) != image.size:
            image = image.resize((width, height), self._resampling)
        return self._normalise(np.asarray(self._crop(image)), out)

    def quick(self, pixels: NDArray[np.uint8], out: Row | None = None) -> Row:
        """The same for RGB pixels [height, width, 3], several times as fast; a few differ by a step or two of 255.

        Raises:
            ImageInvalid: as above.
        """
        height, width = self._config.size
        target = self.target(*pixels.shape[:2])
        if self._config.interpolation not in _TORCH_MODES or target[0] < height or target[1] < width:
            return self(Image.fromarray(pixels), out)
        if pixels.shape[:2] != target:
            pixels = _interpolated(pixels, target, self._config.interpolation)
        top, left = self._corner(*target)
        return self._normalise(pixels[top : top + height, left : left + width], out)

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture of this height and width is resized to, before the middle is cut out.

        Raises:
            ImageInvalid: it is so narrow that it would grow beyond MAX_RESIZED_PIXELS.
        """
        target = self._target(height, width)
        if target != (height, width) and target[0] * target[1] > MAX_RESIZED_PIXELS:
            raise ImageInvalid(f"image: {width}x{height} pixels are too narrow for this model")
        return target

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
        top, left = self._corner(image.height, image.width)
        return image.crop((left, top, left + width, top + height))

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        """Top and left of the middle."""
        return round((height - self._config.size[0]) / 2), round((width - self._config.size[1]) / 2)

    def _normalise(self, pixels: NDArray[np.uint8], out: Row | None) -> Row:
        """Bytes [height, width, 3] -> floats [3, height, width]."""
        row = np.empty((3, *self._config.size), dtype=np.float32) if out is None else out
        np.copyto(row, pixels.transpose(2, 0, 1))
        np.multiply(row, self._scale, out=row)
        np.add(row, self._shift, out=row)
        return row


def on_one_core() -> None:
    """What this thread has torch do from now on, it does on one core: several images are resized at a time, and torch's own
    threads would spin for more work on the cores that run the network. torch is imported by who needs it first.
    """
    _thread.shall_be_alone = True


def _interpolated(pixels: NDArray[np.uint8], target: tuple[int, int], mode: str) -> NDArray[np.uint8]:
    """[height, width, 3] at the target's height and width; a view with the colours apart, as the network wants them."""
    import torch
    from torch.nn.functional import interpolate

    if getattr(_thread, "shall_be_alone", False):
        set_threads(1)  # each time: a forward pass in this thread may have had more
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = interpolate(planes, size=target, mode=mode, antialias=True, align_corners=False)
    array: NDArray[np.uint8] = resized[0].permute(1, 2, 0).numpy()
    return array
