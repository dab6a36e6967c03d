"""Boxes and labels in pictures of any size, and YOLO's lines."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.object_detection import Detections, drawing, yolo_text

NAMES = ("circle", "square", "a name that is far too long for most pictures", "line\nbreak\x00", "猫")


def detections(boxes, size, classes=None, scores=None):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores if scores is not None else np.linspace(0.9, 0.3, count), np.float32),
        np.array(classes if classes is not None else np.arange(count) % len(NAMES), np.int64),
        size,
    )


def test_yolo_text_is_fractions_of_the_picture():
    found = detections([[10, 20, 30, 60], [0, 0, 100, 200]], (200, 100), [1, 0], [0.875, 0.5])
    assert (
        yolo_text.text(found, confidence=False)
        == "1 0.200000 0.200000 0.200000 0.200000\n0 0.500000 0.500000 1.000000 1.000000"
    )
    assert yolo_text.text(found, confidence=True).splitlines()[0].split()[-1] == "0.875000"
    assert yolo_text.text(detections([], (8, 8)), confidence=True) == ""


@pytest.mark.parametrize("size", [(2, 2), (5, 300), (300, 5), (64, 64), (480, 640), (3000, 4096)], ids=str)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_picture_of_any_size_keeps_its_size(size, file_format):
    height, width = size
    boxes = [
        [0, 0, width, height],
        [width / 2, height / 2, width, height],
        [0.2, 0.2, 0.9, 0.9],
        [width - 1, 0, width, 1],
    ]
    file = drawing.drawn(np.zeros((*size, 3), np.uint8), detections(boxes, size), NAMES, file_format)
    with Image.open(io.BytesIO(file)) as image:
        assert (image.format, image.size) == (file_format, (width, height))
        image.load()


@pytest.mark.parametrize("ground", [0, 60, 128, 200, 255])
@pytest.mark.parametrize("side", [64, 640, 2000])
def test_a_box_stands_out_from_any_ground(ground, side):
    """With a contrast of 3 to what is around it, which WCAG asks of graphics."""
    box = [side * 0.25, side * 0.5, side * 0.75, side * 0.9]
    for class_id in range(3):
        blank = Image.new("RGB", (side, side), (ground,) * 3)
        image = drawing.annotated(blank, detections([box], (side, side), [class_id]), NAMES)
        across = np.asarray(image)[round(side * 0.7), : side // 2].reshape(-1, 3)  # through the left line alone
        assert max(contrast(tone, (ground,) * 3) for tone in np.unique(across, axis=0)) > 3


def test_letters_stand_out_from_every_label():
    for class_id in range(200):
        colour = drawing.colour(class_id)
        assert max(contrast(colour, (0, 0, 0)), contrast(colour, (255, 255, 255))) > 4.5


def contrast(one, other):
    lights = sorted((luminance(one), luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour):
    linear = [(part / 255) / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_neighbouring_classes_have_different_colours():
    colours = np.array([drawing.colour(number) for number in range(12)], float)
    apart = np.abs(colours[:, None] - colours[None]).sum(2) + 1000 * np.eye(12)
    assert apart.min() > 40


@pytest.mark.parametrize(
    "box", [[0, 0, 640, 480], [600, 2, 640, 30], [0, 470, 30, 480], [300, 0, 340, 480], [2, 200, 8, 210]], ids=str
)
def test_a_label_at_the_border_is_whole_and_inside(box):
    image = labelled([box], [1])
    assert ground_of(1, image) >= 0.9 * ground_of(1, labelled([[300, 200, 400, 300]], [1])[:199])


def test_the_labels_of_boxes_in_one_place_do_not_hide_each_other():
    box = [200, 200, 400, 300]
    together = labelled([box] * 3, [0, 1, 2])
    for class_id in (0, 1):
        alone = ground_of(
            class_id, labelled([box], [class_id])[:199]
        )  # above its box there is the label and nothing else
        assert ground_of(class_id, together) >= 0.9 * alone


def test_of_many_boxes_all_are_drawn_and_the_surest_hundred_have_labels(monkeypatch):
    texts = []
    monkeypatch.setattr(drawing, "_label", lambda draw, area, text, ground, font: texts.append(text))
    places = [(40 * (i % 40), 60 * (i // 40) + 30) for i in range(1000)]
    boxes = [[x, y, x + 30, y + 20] for x, y in places[::10] + [place for i, place in enumerate(places) if i % 10]]
    image = np.asarray(
        drawing.annotated(
            Image.new("RGB", (1600, 1600), "white"), detections(boxes, (1600, 1600), [0] * 1000), ["a"] * 1000
        )
    )
    assert len(texts) == 100
    assert all((image[top + 5, left] == drawing.colour(0)).all() for left, top, _, _ in boxes)


@pytest.mark.parametrize("width", range(1, 80, 7))
def test_a_name_is_cut_to_as_many_letters_as_the_picture_is_wide(width):
    font, name = drawing._font(9), NAMES[2]
    cut = [
        text
        for text in (f"{name[:length]}…" for length in range(2, len(name)))
        if drawing._size(text, font)[0] <= width
    ]
    assert drawing._fitting(name, 0.5, font, 1, width) == (cut[-1] if cut else "")


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_a_frame_is_what_pillow_draws_as_an_outline(width):
    for box in ((3, 4, 30, 20), (-4, 5, 50, 60), (2, 2, 3, 30), (5, 5, 5, 5), (1, 1, 1 + 2 * width, 2 + 2 * width)):
        ours, theirs = Image.new("RGB", (40, 40)), Image.new("RGB", (40, 40))
        drawing._frame(ImageDraw.Draw(ours), box, width, (9, 8, 7))
        ImageDraw.Draw(theirs).rectangle(box, outline=(9, 8, 7), width=width)
        assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def labelled(boxes, classes):
    image = drawing.annotated(Image.new("RGB", (640, 480), "white"), detections(boxes, (480, 640), classes), NAMES)
    return np.asarray(image)


def ground_of(class_id, pixels):
    """How many pixels have the class's colour."""
    return int((pixels == drawing.colour(class_id)).all(2).sum())


def test_nothing_found_is_the_picture_itself():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(drawing.drawn(pixels, detections([], (30, 40)), NAMES, "PNG"))) as image:
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(("given", "made"), [("png", "PNG"), ("PNG", "PNG"), ("jpeg", "JPEG"), ("jpg", "JPEG")])
def test_a_picture_is_png_or_jpeg(given, made):
    assert drawing.picture_format(given) == made


@pytest.mark.parametrize("given", ["gif", "", 1, True, None, "x" * 1000])
def test_another_format_is_refused(given):
    with pytest.raises(InvalidInput, match=r"^annotate: expected png or jpeg, found "):
        drawing.picture_format(given)
