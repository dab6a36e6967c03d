"""Mean average precision as COCO defines it, by pycocotools. Called by `detection.py` and tests."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from moorage_predictor.scaffolds.shapes import Scene
from moorage_predictor.tasks.object_detection import Detections


def mean_average_precision(
    scenes: Sequence[Scene], found: Sequence[Detections], classes: int, iou: float = 0.5
) -> float:
    """Of the detections in each picture, at one overlap: mAP@50 for 0.5."""
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(len(scenes))],
        "categories": [{"id": number} for number in range(classes)],
        "annotations": [
            {
                "id": at,
                "image_id": picture,
                "category_id": int(number),
                "bbox": _wide(box),
                "area": _area(box),
                "iscrowd": 0,
            }
            for at, (picture, box, number) in enumerate(_flat(scenes), start=1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results = truth.loadRes(
            [
                {"image_id": picture, "category_id": int(number), "bbox": _wide(box), "score": float(score)}
                for picture, one in enumerate(found)
                for box, number, score in zip(one.boxes, one.class_id, one.scores, strict=True)
            ]
        )
        judged = COCOeval(truth, results, "bbox")
        judged.params.iouThrs = np.array([iou])
        judged.evaluate()
        judged.accumulate()
    precision = judged.eval["precision"][0, :, :, 0, -1]  # [recall, class], boxes of all sizes, 100 of a picture
    return float(precision[precision > -1].mean())


def _flat(scenes: Sequence[Scene]) -> list[tuple[int, NDArray[np.float32], int]]:
    return [
        (picture, box, number)
        for picture, one in enumerate(scenes)
        for box, number in zip(one.boxes, one.classes, strict=True)
    ]


def _wide(box: NDArray[np.float32]) -> list[float]:
    """Left, top, width, height."""
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
