"""Pictures of circles, squares and triangles over photographs, and where they are. Called by `detection.py` and tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

NAMES: Final = ("circle", "square", "triangle")
_MOST: Final = 4
"""Shapes in a picture, at least one."""
_SIZES: Final = (0.16, 0.42)
"""Of a shape, in the picture's shorter side."""
_CONTRAST: Final = 90
"""Least distance of a shape's colour from what lies behind it, of 441."""
_CLUTTER: Final = 15
"""Fewer lines, arcs and rings than this."""
_TRIES: Final = 20
_FINER: Final = 2
"""Drawn so many times larger, then shrunk: edges without steps."""


@dataclass(frozen=True)
class Scene:
    """One picture."""

    pixels: NDArray[np.uint8]
    """RGB, [height, width, 3]."""
    boxes: NDArray[np.float32]
    """[k, 4]: left, top, right, bottom, pixels."""
    classes: NDArray[np.int64]
    """[k], numbers of NAMES."""


def scene(
    photos: Sequence[Image.Image], size: tuple[int, int], random: np.random.Generator, *, clutter: bool = False
) -> Scene:
    """One picture of this width and height; equal generators give equal pictures. With clutter behind the shapes two photos
    are as good to learn from as many.
    """
    width, height = size
    image = _ground(photos, (width * _FINER, height * _FINER), random)
    if clutter:
        image = _cluttered(image, random)
    draw = ImageDraw.Draw(image)
    boxes: list[tuple[float, float, float, float]] = []
    classes: list[int] = []
    for _ in range(int(random.integers(1, _MOST + 1))):
        place = _free(size, boxes, random)
        if place is None:
            continue
        kind = int(random.integers(len(NAMES)))
        _draw(draw, kind, tuple(_FINER * side for side in place), _colour(image, place, random))
        boxes.append(place)
        classes.append(kind)
    pixels = np.array(image.resize(size, Image.Resampling.BOX))
    return Scene(pixels, np.array(boxes, dtype=np.float32).reshape(-1, 4), np.array(classes, dtype=np.int64))


def _ground(photos: Sequence[Image.Image], size: tuple[int, int], random: np.random.Generator) -> Image.Image:
    """A random part of a photo."""
    photo = photos[int(random.integers(len(photos)))]
    share = random.uniform(0.3, 0.9)
    scale = min(photo.width / size[0], photo.height / size[1]) * share
    width, height = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    left, top = int(random.integers(photo.width - width + 1)), int(random.integers(photo.height - height + 1))
    return photo.resize(size, Image.Resampling.BILINEAR, (left, top, left + width, top + height))


def _cluttered(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """With lines, arcs and rings of any colour, all of it more or less out of focus."""
    draw = ImageDraw.Draw(image)
    side = min(image.size)
    for _ in range(int(random.integers(_CLUTTER))):
        middle, reach = random.uniform(0, image.size, 2), random.uniform(0.03, 0.3, 2) * side
        (left, top), (right, bottom) = middle - reach, middle + reach
        colour, width = tuple(random.integers(0, 256, 3).tolist()), int(random.integers(1, side // 20 + 2))
        kind = int(random.integers(3))
        if kind == 0:
            draw.line((left, top, right, bottom), colour, width)
        elif kind == 1:
            start, end = random.uniform(0, 360, 2).tolist()
            draw.arc((left, top, right, bottom), start, end, colour, width)
        else:
            draw.ellipse((left, top, right, bottom), outline=colour, width=width)
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0, _FINER * 2)))


def _free(
    size: tuple[int, int], boxes: Sequence[tuple[float, float, float, float]], random: np.random.Generator
) -> tuple[float, float, float, float] | None:
    """A square place that covers no other's middle."""
    for _ in range(_TRIES):
        side = min(size) * random.uniform(*_SIZES)
        left, top = random.uniform(0, size[0] - side), random.uniform(0, size[1] - side)
        box = (left, top, left + side, top + side)
        if all(_apart(box, other) for other in boxes):
            return box
    return None


def _apart(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return wide <= 0 or high <= 0 or wide * high < 0.1 * smaller


def _colour(image: Image.Image, place: tuple[float, ...], random: np.random.Generator) -> tuple[int, int, int]:
    left, top, right, bottom = (int(_FINER * side) for side in place)
    behind = np.asarray(image.crop((left, top, right, bottom))).reshape(-1, 3).mean(axis=0)
    for _ in range(_TRIES):
        colour = random.integers(0, 256, 3)
        if math.dist(colour, behind) > _CONTRAST:
            break
    return int(colour[0]), int(colour[1]), int(colour[2])


def _draw(draw: ImageDraw.ImageDraw, kind: int, place: tuple[float, ...], colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = place
    if kind == 0:
        draw.ellipse((left, top, right, bottom), fill=colour)
    elif kind == 1:
        draw.rectangle((left, top, right, bottom), fill=colour)
    else:
        draw.polygon(((left, bottom), ((left + right) / 2, top), (right, bottom)), fill=colour)
