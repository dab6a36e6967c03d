"""The V1 protocol's dictionaries <-> object detection. Called by `wire/detection.py`.

{"instances": [{"b64": "..."}], "parameters": {"confidence": 0.5, "yolo": true, "annotate": "png"}}
-> {"predictions": [{"detections": [{"class_id", "label", "score", "box": [left, top, right, bottom]}, ...], ...}]}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.object_detection import Detections, Options, yolo_text
from moorage_predictor.tasks.object_detection.drawing import picture_format
from moorage_predictor.tasks.object_detection.options import NAMES
from moorage_predictor.wire.tensor import kind, short

_KNOWN: Final = (*NAMES, "yolo", "yolo_confidence", "annotate")


@dataclass(frozen=True)
class Asked:
    """What one request wants."""

    options: Options
    yolo: bool
    yolo_confidence: bool
    picture: str | None
    """PNG or JPEG, if the annotated picture is wanted."""


def asked(body: dict[str, Any], defaults: Options, names: Sequence[str]) -> Asked:
    """From `parameters`, which may be absent.

    Raises:
        InvalidInput: an unknown parameter, or a value that is not what it should be.
    """
    given = body.get("parameters")
    if given is None:
        given = {}
    if type(given) is not dict:
        raise InvalidInput(f"parameters: expected an object, found {kind(given)}")
    if unknown := [name for name in given if name not in _KNOWN]:
        raise InvalidInput(f"parameters: expected some of {', '.join(_KNOWN)}, found {short(unknown[0])}")
    return Asked(
        options=defaults.changed(given, names),
        yolo=flag(given, "yolo"),
        yolo_confidence=flag(given, "yolo_confidence"),
        picture=picture_format(given["annotate"]) if given.get("annotate") is not None else None,
    )


def flag(given: dict[str, Any], name: str) -> bool:
    """A boolean parameter; False if it is absent.

    Raises:
        InvalidInput: it is something else.
    """
    value = given.get(name, False)
    if type(value) is not bool:
        raise InvalidInput(f"{name}: expected true or false, found {short(value)}")
    return value


def response(
    asked: Asked, found: Sequence[Detections], names: Sequence[str], drawn: Sequence[bytes | str] | None, seconds: float
) -> dict[str, Any]:
    """One prediction object for each instance; `processing_time` is that of the whole request, seconds."""
    predictions = []
    for index, one in enumerate(found):
        prediction: dict[str, Any] = {
            "detections": _detections(one, names),
            "height": one.size[0],
            "width": one.size[1],
            "processing_time": round(seconds, 6),
        }
        if asked.yolo:
            prediction["yolo"] = yolo_text.text(one, confidence=asked.yolo_confidence)
        if drawn is not None:
            prediction["annotated"] = {"b64": drawn[index]}
        predictions.append(prediction)
    return {"predictions": predictions}


def _detections(found: Detections, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"class_id": number, "label": names[number], "score": score, "box": box}
        for number, score, box in zip(found.class_id.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    ]
