"""The raw output of a YOLO network -> boxes. Pure; called by `yolo.py`.

| layout    | output of one picture | a box                                                     | its score            |
|-----------|-----------------------|-----------------------------------------------------------|----------------------|
| `yolov8`  | [4 + classes, boxes]  | centre x, centre y, width, height; a score for each class | the best of them     |
| `yolov5`  | [boxes, 5 + classes]  | the same, with an objectness before the scores            | the best, times it   |
| `end2end` | [boxes, 6]            | left, top, right, bottom, score, class                    | as it is; no NMS     |

Coordinates are pixels of the network's input. v6, v8, v9, v11 and v12 are of the first layout; v5 and v7 of the second; v10 and
v26 of the third. As in Ultralytics' own prediction a box has one class, its best.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.tasks.object_detection.config import Layout
from moorage_predictor.tasks.object_detection.options import Options

Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""Boxes [k, 4] as left, top, right, bottom; scores [k]; classes [k]; the surest first."""

_MOST_SHARE: Final = 4
"""Numbers of a box for each box there is, where nobody says how many classes there are: 80 classes in a picture of 32 by 32
pixels, the smallest input, have 84 for 21."""
_MOST_CANDIDATES: Final = 30_000
"""Boxes that are compared with each other, as Ultralytics bounds them."""
_TOLERANCE: Final = 1e-3
"""Of halves, and of integers that stand for fractions."""


def layout_of(shape: tuple[int, int], names: int | None) -> Layout:
    """The layout of an output of this shape, of one picture; `names` is the number of classes, if somebody has said it.

    Raises:
        ValueError: no layout has it, or several have.
    """
    rows, columns = shape
    fit: dict[Layout, bool] = {
        "yolov8": rows > 4 and (rows - 4 == names if names else rows <= _MOST_SHARE * columns),
        "yolov5": columns > 5 and (columns - 5 == names if names else columns <= _MOST_SHARE * rows),
        "end2end": columns == 6,
    }
    found = [layout for layout, fits in fit.items() if fits]
    if len(found) == 1:
        return found[0]
    if found:
        more = "" if names else ", or class names in labels.txt,"
        raise ValueError(
            f"the output [{rows}, {columns}] for each picture may be {' or '.join(found)}: output in config.json{more} "
            "must say which"
        )
    expected = f"[{4 + (names or 1)}, boxes], [boxes, {5 + (names or 1)}] or [boxes, 6]" if names else "raw YOLO output"
    raise ValueError(
        f"expected {expected}, found [{rows}, {columns}] for each picture; output in config.json names the layout"
    )


def classes_of(shape: tuple[int, int], layout: Layout) -> int | None:
    """How many classes an output of this shape has; None: it does not tell."""
    return {"yolov8": shape[0] - 4, "yolov5": shape[1] - 5, "end2end": None}[layout]


def check(raw: NDArray[np.float32], layout: Layout) -> None:
    """That what would be scores in one picture's output can be scores.

    Raises:
        ValueError: some are not from 0 to 1.
    """
    scores = {"yolov8": raw[4:], "yolov5": raw[:, 4:], "end2end": raw[:, 4]}[layout]
    for extreme in (scores.min(initial=0), scores.max(initial=0)):
        if not -_TOLERANCE <= extreme <= 1 + _TOLERANCE:
            raise ValueError(
                f"expected scores from 0 to 1, found {extreme:.4g} where {layout} has them: output in config.json names the "
                "layout, and the model must be exported with its sigmoid"
            )


def boxes(raw: NDArray[np.float32], layout: Layout, options: Options) -> Found:
    """What one picture's output holds for these options."""
    if layout == "end2end":
        return _first(raw[:, :4], raw[:, 4], raw[:, 5].astype(np.int64), options, overlapping=True)
    rows = raw.T if layout == "yolov8" else raw
    of_classes = rows[:, 4:] if layout == "yolov8" else rows[:, 5:]
    classes = of_classes.argmax(axis=1)
    scores = of_classes[np.arange(len(rows)), classes]
    if layout == "yolov5":
        scores = scores * rows[:, 4]
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    return _first(np.concatenate([centre - half, centre + half], axis=1), scores, classes, options, overlapping=False)


def _first(
    corners: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[Any],
    options: Options,
    *,
    overlapping: bool,
) -> Found:
    """The surest that are sure enough, of the wanted classes, and not on a surer one unless `overlapping`."""
    wanted = (scores > options.confidence) & np.isfinite(corners).all(axis=1)
    if options.classes is not None:
        wanted &= np.isin(classes, list(options.classes))
    chosen = np.flatnonzero(wanted)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")][:_MOST_CANDIDATES]
    corners, scores, classes = corners[chosen].astype(np.float32), scores[chosen].astype(np.float32), classes[chosen]
    if not overlapping and len(chosen):
        import torch
        from torchvision.ops import batched_nms

        kept = batched_nms(*map(torch.from_numpy, (corners, scores, classes)), options.iou).numpy()
        corners, scores, classes = corners[kept], scores[kept], classes[kept]
    most = options.max_detections
    return corners[:most], scores[:most], classes[:most].astype(np.int64)
