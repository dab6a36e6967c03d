"""A picture in the middle of a network's input, as large as fits, on grey: as Ultralytics prepares it (`LetterBox` with
`auto=False`), so that a network sees what it was trained on. Called by `yolo.py`, in decode threads.
"""

import math
from typing import Any, Final

from moorage_predictor.engine.backends.eager import set_threads
from moorage_predictor.tasks.object_detection.types import Pixels, Place, Prepared

_GREY: Final = 114


def letterboxed(pixels: Pixels, size: tuple[int, int]) -> Prepared:
    """The picture for an input of this height and width: float32 [3, height, width] from 0 to 1.

    Resized without antialiasing, which OpenCV's `INTER_LINEAR` has not either.
    """
    import torch
    from torch.nn.functional import interpolate

    set_threads(1)
    height, width = pixels.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (_before(whole - part) for whole, part in zip(size, inner, strict=True))
    with torch.inference_mode():
        planes: Any = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        if inner != (height, width):
            planes = interpolate(planes, size=inner, mode="bilinear", align_corners=False)
        made = torch.full((3, *size), _GREY / 255)
        made[:, top : top + inner[0], left : left + inner[1]] = planes[0].float() / 255
    return Prepared(made, (height, width), Place(scale, scale, left, top))


def _before(spare: int) -> int:
    """The smaller half of the margin, as `round(spare / 2 - 0.1)` has it."""
    return math.floor(spare / 2)
