"""The task's answer -> an `InferResponse`, with the outputs that the request asked for. Called by `wire/model.py`."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import pybase64
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import Classification
from moorage_predictor.wire.messages import InferOutput, InferRequest, InferResponse
from moorage_predictor.wire.options import ATTENTION, FEATURES, OVERLAY
from moorage_predictor.wire.pieces import BULKY, InPieces

DATATYPES: Final[Mapping[str, str]] = {
    "class_id": "INT64",
    "confidence": "FP32",
    "class_name": "BYTES",
    "logits": "FP32",
}
MORE: Final[Mapping[str, str]] = {FEATURES: "FP32", ATTENTION: "FP32", OVERLAY: "BYTES"}
"""What some networks give when it is asked for."""
DEFAULT: Final = ("class_id", "confidence", "class_name")
"""What a request that names no outputs gets; `logits` comes only when asked for."""


def wanted(request: InferRequest, more: Collection[str] = (), *, classes: bool = True) -> list[str]:
    """Names of the outputs that the request names, of those that there are, `more` among them; if it names none, of the usual
    ones. A network without `classes` has only `more`. Called before anything is computed.

    Raises:
        InvalidInput: an output that does not exist.
    """
    if not request.request_outputs:
        return list(DEFAULT) if classes else []
    known = (*DATATYPES, *more) if classes else tuple(more)
    names = [output.name for output in request.request_outputs]
    for name in names:
        if name not in known:
            raise InvalidInput(f"outputs: expected some of {', '.join(known)}, found {name[:40]!r}")
    return names


def response(request: InferRequest, requested: list[str], result: Classification) -> InferResponse:
    """The answer."""
    return InferResponse(request.id, request.model_name, [_output(name, getattr(result, name)) for name in requested])


def with_more(request: InferRequest, requested: list[str], result: Classification) -> InferResponse:
    """The answer to a request that may have asked for more: what it named, or the usual ones and whatever was computed."""
    given = {FEATURES: result.features, ATTENTION: result.attention, OVERLAY: _files(request, result)}
    if not request.request_outputs:
        requested = [*requested, *(name for name, array in given.items() if array is not None)]
    outputs = [_output(name, given[name] if name in given else getattr(result, name)) for name in requested]
    return InferResponse(request.id, request.model_name, outputs)


def _files(request: InferRequest, result: Classification) -> NDArray[Any] | None:
    """PNG files: as they are where the output goes in bytes, in base64 where it goes in JSON."""
    if result.overlay is None:
        return None
    if request.from_grpc or in_bytes(request, OVERLAY):
        return result.overlay
    encoded = np.empty_like(result.overlay)
    encoded[:] = [pybase64.b64encode(file).decode() for file in result.overlay]
    return encoded


def in_bytes(request: InferRequest, name: str) -> bool:
    """Does this output go as it lies in memory, and not as JSON or one number after the other?"""
    asks = (output.binary_data for output in request.request_outputs or () if output.name == name)
    own = None if request.from_grpc else next(asks, None)
    return request.use_binary_outputs if own is None else bool(own)


def bulky(answer: Any) -> bool:
    """Is it, of V2 or V1, so large that others should wait for its encoding only a piece at a time?"""
    if isinstance(answer, InferResponse):
        return sum(output.data.size for output in answer.outputs) > BULKY
    maps = answer["predictions"][0].get("attention_maps") if answer["predictions"] else None
    return maps is not None and isinstance(maps["data"], InPieces)


def _output(name: str, array: Any) -> InferOutput:
    datatype = DATATYPES.get(name) or MORE[name]
    return InferOutput(name=name, shape=list(array.shape), datatype=datatype, data=np.ascontiguousarray(array))


def into_v1(answer: dict[str, Any], result: Classification) -> dict[str, Any]:
    """V1's answer with what else was asked for, in each prediction: `features`, `attention_maps` with shape and data, and
    `attention_overlay`, a PNG file in base64. Classes below the threshold are left out."""
    large = result.attention is not None and result.attention.size > BULKY
    for row, prediction in enumerate(answer["predictions"]):
        prediction["predictions"] = [one for one in prediction["predictions"] if one["class_id"] >= 0]
        prediction["confidence_scores"] = prediction["confidence_scores"][: len(prediction["predictions"])]
        if result.features is not None:
            prediction["features"] = np.ascontiguousarray(result.features[row])
        if result.attention is not None:
            data = np.ascontiguousarray(result.attention[row])
            prediction["attention_maps"] = {"shape": list(data.shape), "data": InPieces(data) if large else data}
        if result.overlay is not None:
            prediction["attention_overlay"] = {"b64": pybase64.b64encode(result.overlay[row]).decode()}
    return answer
