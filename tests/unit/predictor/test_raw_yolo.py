"""Raw YOLO output into boxes, and pictures into the network's input and back."""

import numpy as np
import pytest
from PIL import Image

from moorage_predictor.tasks.object_detection import Options, raw_yolo
from moorage_predictor.tasks.object_detection.letterbox import letterboxed
from moorage_predictor.tasks.object_detection.yolo import Yolo

# Two cats that overlap by 0.82, a dog where they are, a cat elsewhere, and a box that is hardly anything.
BOXES = [[50, 50, 40, 40], [52, 52, 40, 40], [50, 50, 40, 40], [200, 60, 20, 30], [20, 20, 9, 9]]
SCORES = [[0.9, 0.1], [0.8, 0.1], [0.1, 0.7], [0.6, 0.2], [0.1, 0.05]]


def output(layout):
    boxes, scores = np.array(BOXES, np.float32), np.array(SCORES, np.float32)
    if layout == "yolov8":
        return np.concatenate([boxes, scores], 1).T.copy()
    if layout == "yolov5":  # the score is objectness times the class's own
        return np.concatenate([boxes, np.full((5, 1), 0.5, np.float32), scores * 2], 1)
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
    kept = [0, 2, 3, 4]  # such a network has done its own NMS
    return np.concatenate([corners, scores.max(1)[:, None], scores.argmax(1)[:, None]], 1, dtype=np.float32)[kept]


@pytest.mark.parametrize("layout", ["yolov8", "yolov5", "end2end"])
def test_each_layout_gives_the_same_boxes(layout):
    boxes, scores, classes = raw_yolo.boxes(output(layout), layout, Options())
    assert boxes.tolist() == [[30, 30, 70, 70], [30, 30, 70, 70], [190, 45, 210, 75]]
    assert scores == pytest.approx([0.9, 0.7, 0.6])
    assert classes.tolist() == [0, 1, 0]
    assert (boxes.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int64)


@pytest.mark.parametrize(
    ("options", "scores"),
    [
        (Options(confidence=0.65), [0.9, 0.7]),
        (Options(confidence=1), []),
        (Options(confidence=0), [0.9, 0.7, 0.6, 0.1]),
        (Options(iou=0.9), [0.9, 0.8, 0.7, 0.6]),
        (Options(classes=frozenset({1})), [0.7]),
        (Options(classes=frozenset({0})), [0.9, 0.6]),
        (Options(max_detections=1), [0.9]),
        (Options(max_detections=1, classes=frozenset({1})), [0.7]),
    ],
    ids=str,
)
def test_options_choose_among_them(options, scores):
    assert raw_yolo.boxes(output("yolov8"), "yolov8", options)[1] == pytest.approx(scores)


def test_a_box_that_is_no_number_is_left_out():
    raw = output("yolov8")
    raw[0, 0] = np.nan
    raw[4, 3] = np.nan
    assert raw_yolo.boxes(raw, "yolov8", Options())[1] == pytest.approx([0.8, 0.7])


@pytest.mark.parametrize(
    ("shape", "names", "layout"),
    [
        ((84, 8400), None, "yolov8"),
        ((84, 8400), 80, "yolov8"),
        ((7, 256), 3, "yolov8"),
        ((25200, 85), None, "yolov5"),
        ((25200, 85), 80, "yolov5"),
        ((84, 21), 80, "yolov8"),
        ((84, 84), 80, "yolov8"),
        ((84, 21), 16, "yolov5"),
        ((1207, 8400), None, "yolov8"),
        ((300, 6), 80, "end2end"),
    ],
)
def test_the_shape_tells_the_layout(shape, names, layout):
    assert raw_yolo.layout_of(shape, names) == layout


@pytest.mark.parametrize(("shape", "names"), [((84, 8400), 3), ((25200, 85), 79), ((4, 100), None), ((100, 5), None)])
def test_a_shape_that_no_layout_has_is_refused(shape, names):
    with pytest.raises(ValueError, match=rf"found \[{shape[0]}, {shape[1]}\] for each picture"):
        raw_yolo.layout_of(shape, names)


@pytest.mark.parametrize(
    ("shape", "names", "layouts"),
    [
        ((300, 6), None, "yolov5 or end2end"),
        ((300, 6), 1, "yolov5 or end2end"),
        ((84, 84), None, "yolov8 or yolov5"),
        ((84, 21), None, "yolov8 or yolov5"),
        ((84, 85), 80, "yolov8 or yolov5"),
        ((6, 6), 2, "yolov8 or end2end"),
    ],
)
def test_a_shape_that_several_layouts_have_is_refused_with_what_decides(shape, names, layouts):
    with pytest.raises(ValueError, match=rf"may be {layouts}: output in config\.json.* must say which$") as refused:
        raw_yolo.layout_of(shape, names)
    assert ("labels.txt" in str(refused.value)) == (names is None)


@pytest.mark.parametrize(("layout", "place"), [("yolov8", (5, 2)), ("yolov5", (2, 6)), ("end2end", (2, 4))])
def test_what_stands_where_scores_should_must_be_from_0_to_1(layout, place):
    raw = np.clip(output(layout), 0, 1)
    for score in (0, 1, 1.0004):
        raw[place] = score
        raw_yolo.check(raw, layout)
    for score, shown in ((15.3, "15.3"), (-2, "-2")):
        raw[place] = score
        with pytest.raises(ValueError, match=rf"^expected scores from 0 to 1, found {shown} where {layout} has them"):
            raw_yolo.check(raw, layout)


@pytest.mark.parametrize("size", [(300, 451), (451, 300), (64, 64), (2, 1000), (4096, 2), (96, 160)])
def test_a_letterboxed_picture_lies_in_the_middle_and_boxes_find_back(size):
    height, width = size
    pixels = np.full((height, width, 3), 255, np.uint8)
    prepared = letterboxed(pixels, (96, 160))
    assert tuple(prepared.tensor.shape) == (3, 96, 160)
    white = np.argwhere(prepared.tensor[0].numpy() == 1)
    (top, left), (bottom, right) = white.min(0), white.max(0) + 1
    place = prepared.place
    assert (top, left) == (place.top, place.left)
    assert abs((top + bottom) - 96) <= 1
    assert abs((left + right) - 160) <= 1
    assert bottom - top == 96 or right - left == 160
    assert (right - left, bottom - top) == (max(1, round(width * place.scale_x)), max(1, round(height * place.scale_y)))


def test_what_is_around_is_grey_and_a_picture_of_that_size_is_untouched():
    pixels = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    assert np.array_equal(
        letterboxed(pixels, (96, 160)).tensor.numpy(), pixels.transpose(2, 0, 1).astype(np.float32) / 255
    )
    around = letterboxed(pixels[:, :80], (96, 160)).tensor
    assert around[:, :, :40].unique().tolist() == pytest.approx([114 / 255])


def test_a_smaller_picture_is_resized_as_opencv_does_it_linearly():
    """The reference is Pillow without its antialiasing: pixel centres, two neighbours in each direction."""
    pixels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    ours = letterboxed(pixels, (60, 80)).tensor.numpy().transpose(1, 2, 0) * 255
    theirs = Image.fromarray(pixels).transform(
        (80, 60), Image.Transform.AFFINE, (1.5, 0, 0, 0, 1.5, 0), Image.Resampling.BILINEAR
    )
    assert np.abs(ours - np.asarray(theirs, np.float32)).max() <= 2


class Fixed:
    """A network whose answer is always the same."""

    def __init__(self, rows=None):
        self.rows = rows
        self.batches = []

    def __call__(self, batch, threads):
        self.batches.append(batch.shape)
        assert self.rows in (None, len(batch))
        return np.repeat(output("yolov8")[None], len(batch), 0)

    def describe(self):
        return {"engine": "fixed", "precision": "fp32", "device": "cpu"}


def test_boxes_come_in_pixels_of_the_picture():
    network = Yolo(Fixed(), "yolov8", (128, 256), ("cat", "dog"), None)
    prepared = network.prepare(np.zeros((64, 64, 3), np.uint8))  # twice as large, 64 to the right
    found = network.forward([(prepared, Options(classes=frozenset({0})))], 1)[0]
    assert found.boxes.tolist() == [[-17, 15, 3, 35], [63, 22.5, 73, 37.5]]
    assert found.size == (64, 64)


def test_a_network_for_so_many_pictures_gets_so_many():
    runner = Fixed(rows=4)
    network = Yolo(runner, "yolov8", (32, 32), ("cat", "dog"), 4)
    prepared = network.prepare(np.zeros((32, 32, 3), np.uint8))
    answers = network.forward([(prepared, Options()), (prepared, Options(confidence=0.65))], 1)
    assert [len(one) for one in answers] == [3, 2]
    assert runner.batches == [(4, 3, 32, 32)]
    assert network.most_rows == 4
