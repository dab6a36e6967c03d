"""V2 requests and answers <-> object detection, REST and gRPC alike. Called by `wire/detection.py`.

m is the most boxes that one of the request's n pictures has; the places of those with fewer are filled as stated.

| output           | datatype | shape     | filled with | given                              |
|------------------|----------|-----------|-------------|------------------------------------|
| `num_detections` | INT64    | [n]       |             | always                             |
| `boxes`          | FP32     | [n, m, 4] | 0           | always                             |
| `scores`         | FP32     | [n, m]    | 0           | always                             |
| `class_id`       | INT64    | [n, m]    | -1          | always                             |
| `class_name`     | BYTES    | [n, m]    | ""          | always                             |
| `yolo`           | BYTES    | [n]       |             | when it is asked for by name       |
| `annotated`      | BYTES    | [n]       |             | when it is asked for by name       |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.object_detection import Detections, Options, yolo_text
from moorage_predictor.tasks.object_detection.drawing import DEFAULT, picture_format
from moorage_predictor.wire.detection_v1 import flag
from moorage_predictor.wire.messages import InferOutput, InferRequest, InferResponse
from moorage_predictor.wire.tensor import short

_OUTPUTS: Final[Mapping[str, tuple[str, list[int]]]] = {
    "num_detections": ("INT64", [-1]),
    "boxes": ("FP32", [-1, -1, 4]),
    "scores": ("FP32", [-1, -1]),
    "class_id": ("INT64", [-1, -1]),
    "class_name": ("BYTES", [-1, -1]),
    "yolo": ("BYTES", [-1]),
    "annotated": ("BYTES", [-1]),
}
_ON_DEMAND: Final = ("yolo", "annotated")


@dataclass(frozen=True)
class Asked:
    """What one request wants."""

    options: Options
    outputs: list[str]
    yolo_confidence: bool
    picture: str | None
    """PNG or JPEG, if the annotated picture is wanted."""
    as_text: bool
    """Whether that goes in base64: in JSON, as the request's own images do."""


def output_types() -> list[dict[str, Any]]:
    """Every output; -1 is any size."""
    return [{"name": name, "datatype": datatype, "shape": shape} for name, (datatype, shape) in _OUTPUTS.items()]


def asked(request: InferRequest, defaults: Options, names: Sequence[str]) -> Asked:
    """From the request's parameters and outputs; called before anything is computed. Parameters that are not this task's
    are left alone, as the protocol has it.

    Raises:
        InvalidInput: an output that does not exist, or a value that is not what it should be.
    """
    given = request.parameters or {}
    wanted = [output.name for output in request.request_outputs or ()]
    for name in wanted:
        if name not in _OUTPUTS:
            raise InvalidInput(f"outputs: expected some of {', '.join(_OUTPUTS)}, found {short(name)}")
    outputs = wanted or [name for name in _OUTPUTS if name not in _ON_DEMAND]
    picture = picture_format(given.get("annotate", DEFAULT))
    return Asked(
        options=defaults.changed(given, names),
        outputs=list(dict.fromkeys(outputs)),
        yolo_confidence=flag(given, "yolo_confidence"),
        picture=picture if "annotated" in outputs else None,
        as_text=not (request.from_grpc or _in_bytes(request)),
    )


def response(
    request: InferRequest,
    asked: Asked,
    found: Sequence[Detections],
    names: Sequence[str],
    drawn: Sequence[bytes | str] | None,
) -> InferResponse:
    """The answer, with the outputs that were asked for."""
    made = []
    for name in asked.outputs:
        if name == "annotated":
            array = _objects(list(drawn or ()))
        elif name == "yolo":
            array = _objects([yolo_text.text(one, confidence=asked.yolo_confidence) for one in found])
        else:
            array = _padded(name, found, names)
        parameters = {"content_type": f"image/{(asked.picture or '').lower()}"} if name == "annotated" else None
        made.append(InferOutput(name, list(array.shape), _OUTPUTS[name][0], array, parameters))
    return InferResponse(request.id, request.model_name, made)


def _padded(name: str, found: Sequence[Detections], names: Sequence[str]) -> NDArray[Any]:
    most = max(map(len, found))
    array: NDArray[Any]
    if name == "num_detections":
        return np.array([len(one) for one in found], dtype=np.int64)
    if name == "boxes":
        array = np.zeros((len(found), most, 4), dtype=np.float32)
    elif name == "scores":
        array = np.zeros((len(found), most), dtype=np.float32)
    elif name == "class_id":
        array = np.full((len(found), most), -1, dtype=np.int64)
    else:
        array = np.full((len(found), most), "", dtype=np.object_)
    for row, one in zip(array, found, strict=True):
        row[: len(one)] = [names[i] for i in one.class_id] if name == "class_name" else getattr(one, name)
    return array


def _in_bytes(request: InferRequest) -> bool:
    """Whether the annotated pictures go in bytes."""
    own = [output.binary_data for output in request.request_outputs or () if output.name == "annotated"]
    return bool(own[0]) if own and own[0] is not None else request.use_binary_outputs


def _objects(items: list[Any]) -> NDArray[Any]:
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    return array
