"""A picture with its boxes and labels drawn in, as a file. Called by `wire/detection.py`, in `stages.py`'s draw threads.

Every size is a share of the picture's: lines and letters look alike at 640 and at 4096 pixels, and at 64 they are the smallest
that can be read. A box is a line of its class's colour between a black and a white one, so it is seen on any ground. Labels
are placed from the surest box on, each inside the picture and where it hides least of the others; where a picture is too
small for all of them, the least sure boxes stay without. So do those after the hundredth: nobody could read more, and placing
one takes the longer the more there are.
"""

import bisect
import colorsys
import io
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.object_detection.types import Detections, Pixels

DEFAULT: Final = "PNG"
_FORMATS: Final = {"png": "PNG", "jpeg": "JPEG", "jpg": "JPEG"}
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "PNG": {"compress_level": 1},  # of 16 million pixels the usual level takes seconds, and saves little
    "JPEG": {"quality": 90, "subsampling": 0},  # thin coloured lines fade when colours are halved
}
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
"""Of the circle of hues: steps of this size never come close to an earlier one for long."""
_LINES: Final = 300
"""Widths of a line in a picture's side."""
_LETTERS: Final = 42
"""Heights of a letter in it."""
_SMALLEST_LETTER: Final = 9
"""Pixels; below it the letters of Pillow's font run into each other."""
_SHARE: Final = 0.45
"""Of the picture's width, for a label with a score that is wider than its box."""
_HIDDEN: Final = 0.5
"""Share of a label that others may hide."""
_LONGEST: Final = 40
"""Characters of a name."""
_MOST_LABELS: Final = 100
"""Boxes that get one, the surest."""

_Colour = tuple[int, int, int]
_Area = tuple[int, int, int, int]


def picture_format(given: Any) -> str:
    """PNG or JPEG, of what a caller writes.

    Raises:
        InvalidInput: another one.
    """
    found = _FORMATS.get(given.lower()) if isinstance(given, str) else None
    if found is None:
        raise InvalidInput(f"annotate: expected png or jpeg, found {str(given)[:40]!r}")
    return found


def drawn(pixels: Pixels, found: Detections, names: Sequence[str], file_format: str) -> bytes:
    """The picture as a file of this format, "PNG" or "JPEG", of the picture's own size."""
    image = annotated(Image.fromarray(np.ascontiguousarray(pixels)), found, names)
    stream = io.BytesIO()
    image.save(stream, file_format, **_OPTIONS[file_format])
    return stream.getvalue()


def annotated(image: Image.Image, found: Detections, names: Sequence[str]) -> Image.Image:
    """The image itself, drawn on."""
    side = math.sqrt(image.width * image.height)
    line = max(1, round(side / _LINES))
    draw = ImageDraw.Draw(image)
    boxes = [_whole(box) for box in found.boxes.tolist()]
    for number in reversed(range(len(found))):  # the surest is drawn last, over the others
        _box(draw, boxes[number], line, colour(int(found.class_id[number])))
    font = _font(max(_SMALLEST_LETTER, round(side / _LETTERS)))
    labels: list[tuple[_Area, str, _Colour]] = []
    for number, score in enumerate(found.scores[:_MOST_LABELS].tolist()):
        class_id, box = int(found.class_id[number]), boxes[number]
        text = _fitting(names[class_id], score, font, box[2] - box[0], image.width)
        area = _place(box, _size(text, font), line, image.size, [area for area, _, _ in labels]) if text else None
        if area is not None:
            labels.append((area, text, colour(class_id)))
    for label in reversed(labels):
        _label(draw, *label, font)
    return image


def colour(class_id: int) -> _Colour:
    """A class's own, the same in every picture; red, green, blue."""
    hue = (0.02 + class_id * _GOLDEN) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if class_id % 2 else 0.95, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _against(ground: _Colour) -> _Colour:
    """Black or white, whichever has the greater contrast to it (relative luminance, WCAG 2.2)."""
    linear = [(part / 255) / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in ground]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else (255, 255, 255)


def _whole(box: Sequence[float]) -> _Area:
    left, top, right, bottom = (round(value) for value in box)
    return left, top, max(left, right - 1), max(top, bottom - 1)  # the last pixel inside


def _box(draw: ImageDraw.ImageDraw, box: _Area, line: int, of: _Colour) -> None:
    rim = max(1, line // 3)
    left, top, right, bottom = box
    outside = _against(of)
    inside = (255 - outside[0], 255 - outside[1], 255 - outside[2])
    _frame(draw, (left - rim, top - rim, right + rim, bottom + rim), rim, outside)
    if min(right - left, bottom - top) > 2 * (line + rim):
        _frame(draw, (left + line, top + line, right - line, bottom - line), rim, inside)
    _frame(draw, box, line, of)


def _frame(draw: ImageDraw.ImageDraw, box: _Area, width: int, of: _Colour) -> None:
    """What `rectangle(box, outline=of, width=width)` draws, of a large box in a seventh of the time."""
    left, top, right, bottom = box
    if min(right - left, bottom - top) <= 2 * width:
        draw.rectangle(box, outline=of, width=width)
        return
    draw.rectangle((left, top, right, top + width - 1), fill=of)
    draw.rectangle((left, bottom - width + 1, right, bottom), fill=of)
    draw.rectangle((left, top, left + width - 1, bottom), fill=of)
    draw.rectangle((right - width + 1, top, right, bottom), fill=of)


def _fitting(name: str, score: float, font: Any, box: int, picture: int) -> str:
    """The label: with the score if it is no wider than its box or a share of the picture, else without, else as much of the
    name as the picture is wide; "" for nothing. `box` and `picture` are widths.
    """
    name = "".join(letter for letter in name[:_LONGEST] if letter.isprintable())
    whole = f"{name} {score:.2f}"
    if _size(whole, font)[0] <= min(max(box, _SHARE * picture), picture):
        return whole
    if _size(name, font)[0] <= picture:
        return name
    # Longer is wider, so a few are measured and not all.
    kept = bisect.bisect_right(range(2, len(name)), picture, key=lambda length: _size(f"{name[:length]}…", font)[0]) + 1
    return f"{name[:kept]}…" if kept > 1 else ""


def _size(text: str, font: Any) -> tuple[int, int]:
    """Width and height of a label, its margin included."""
    ascent, descent = font.getmetrics()
    margin = _margin(font)
    return math.ceil(font.getlength(text)) + 2 * margin, ascent + descent + margin


def _margin(font: Any) -> int:
    return max(1, int(font.size / 5 + 0.5))


def _place(box: _Area, size: tuple[int, int], line: int, picture: tuple[int, int], taken: list[_Area]) -> _Area | None:
    """Where the label goes: above the box, inside its top, below it, inside its bottom, as far right above or inside, or
    beside it. None: nowhere, because the picture is too small or full.
    """
    (width, height), (left, top, right, bottom) = size, box
    most_x, most_y = picture[0] - width, picture[1] - height
    corners = [
        (min(max(x, 0), most_x), y)
        for x, y in (
            (left, top - height),
            (left, top),
            (left, bottom + line),
            (left, bottom - height),
            (right - width, top - height),
            (right - width, top),
        )
    ]
    corners += [(right + line, top), (left - line - width, top), (min(max(left, 0), most_x), min(max(top, 0), most_y))]
    best: tuple[int, _Area] | None = None
    for x, y in corners:
        if 0 <= x <= most_x and 0 <= y <= most_y:
            area = _at(x, y, size)
            hidden = sum(_overlap(area, other) for other in taken)
            if best is None or hidden < best[0]:
                best = (hidden, area)
    return best[1] if best is not None and best[0] <= _HIDDEN * width * height else None


def _at(x: int, y: int, size: tuple[int, int]) -> _Area:
    return x, y, x + size[0], y + size[1]


def _overlap(one: _Area, other: _Area) -> int:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0


def _label(draw: ImageDraw.ImageDraw, area: _Area, text: str, ground: _Colour, font: Any) -> None:
    left, top, right, bottom = area
    draw.rectangle((left, top, right - 1, bottom - 1), fill=ground)
    draw.text((left + _margin(font), top + _margin(font) // 2), text, fill=_against(ground), font=font)


@lru_cache(maxsize=64)
def _font(size: int) -> Any:
    """Pillow's own, which comes with it."""
    return ImageFont.load_default(size)
