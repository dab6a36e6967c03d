"""Pictures of one figure over clutter, and which pixels are the figure's: what `image.py` trains a transformer on, so that one
sees where its attention goes. Called by `image.py`, tests and `tools/attention_picture.py`.

Each kind has its colour and its outline, and the clutter has strokes of all four colours, together more than the figure has of its
own: what tells the kind is where a whole patch has one colour, so the network must find the figure.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

NAMES: Final = ("circle", "square", "triangle", "star")
SIDE: Final = 96
_COLOURS: Final = ((222, 64, 58), (64, 172, 78), (66, 108, 222), (236, 194, 52))
"""Of each kind, red, green, blue."""
_SPREAD: Final = 22
"""Of a colour from one figure or stroke to the next."""
_STROKES: Final = (70, 100)
_RADII: Final = (13, 20)
"""Of a figure, in pixels: its area is 5 to 14 percent of the picture's."""
_POINTS: Final = {"square": 4, "triangle": 3, "star": 5}
_WAIST: Final = 0.42
"""Of a star: the inner points' distance from the middle, in the outer ones'."""


@dataclass(frozen=True)
class Picture:
    """One picture."""

    pixels: NDArray[np.uint8]
    """RGB, [SIDE, SIDE, 3]."""
    figure: NDArray[np.bool_]
    """Which pixels are the figure's, [SIDE, SIDE]."""
    number: int
    """Of NAMES."""


def picture(random: np.random.Generator, number: int | None = None) -> Picture:
    """One picture, of a figure of this number or any; equal generators give equal pictures."""
    kind = int(random.integers(len(NAMES))) if number is None else number
    noise = random.normal(random.uniform(70, 180), 18, (SIDE, SIDE, 1)).repeat(3, axis=2)
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(*_STROKES))):
        x, y = random.uniform(0, SIDE, 2)
        angle, length = random.uniform(0, 2 * math.pi), random.uniform(6, 18)
        end = (x + length * math.cos(angle), y + length * math.sin(angle))
        draw.line(
            [(x, y), end], fill=_colour(random, int(random.integers(len(NAMES)))), width=int(random.integers(1, 4))
        )
    mask = Image.new("1", (SIDE, SIDE))
    _draw(ImageDraw.Draw(mask), NAMES[kind], random)
    image.paste(_colour(random, kind), mask=mask)
    return Picture(np.asarray(image), np.asarray(mask), kind)


def pictures(count: int, seed: int) -> list[Picture]:
    """As many of each kind, in turn."""
    random = np.random.default_rng(seed)
    return [picture(random, index % len(NAMES)) for index in range(count)]


def _colour(random: np.random.Generator, kind: int) -> tuple[int, int, int]:
    red, green, blue = (np.array(_COLOURS[kind]) + random.normal(0, _SPREAD, 3)).clip(0, 255).astype(int).tolist()
    return red, green, blue


def _draw(draw: ImageDraw.ImageDraw, name: str, random: np.random.Generator) -> None:
    radius = random.uniform(*_RADII)
    x, y = random.uniform(radius + 2, SIDE - radius - 2, 2)
    if name == "circle":
        radius *= 0.9  # about the square's area
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1)
        return
    turn, points = random.uniform(0, 2 * math.pi), _POINTS[name]
    corners = []
    for step in range(2 * points if name == "star" else points):
        reach = radius * (_WAIST if name == "star" and step % 2 else 1)
        angle = turn + step * math.pi / points * (1 if name == "star" else 2)
        corners.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    draw.polygon(corners, fill=1)
