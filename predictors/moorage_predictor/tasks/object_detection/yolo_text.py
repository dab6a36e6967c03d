"""Detections as YOLO's label files have them: a line a box, "class cx cy w h", fractions of the picture. Called by `wire/`."""

from moorage_predictor.tasks.object_detection.types import Detections


def text(found: Detections, *, confidence: bool) -> str:
    """The lines, the surest first, each with its score at the end if `confidence` says so; "" for none."""
    height, width = found.size
    lines = []
    for number, (left, top, right, bottom), score in zip(
        found.class_id.tolist(), found.boxes.tolist(), found.scores.tolist(), strict=True
    ):
        centre = ((left + right) / 2 / width, (top + bottom) / 2 / height)
        size = ((right - left) / width, (bottom - top) / height)
        fractions = " ".join(f"{value:.6f}" for value in (*centre, *size))
        lines.append(f"{number} {fractions} {score:.6f}" if confidence else f"{number} {fractions}")
    return "\n".join(lines)
