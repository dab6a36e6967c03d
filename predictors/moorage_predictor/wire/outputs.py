"""The task's answer -> an `InferResponse`, with the outputs that the request asked for. Called by `wire/model.py`."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import Classification
from moorage_predictor.wire.messages import InferOutput, InferRequest, InferResponse

DATATYPES: Final[Mapping[str, str]] = {
    "class_id": "INT64",
    "confidence": "FP32",
    "class_name": "BYTES",
    "logits": "FP32",
}
DEFAULT: Final = ("class_id", "confidence", "class_name")
"""What a request that names no outputs gets; `logits` comes only when asked for."""


def wanted(request: InferRequest) -> list[str]:
    """Names of the outputs to answer with. Called before anything is computed.

    Raises:
        InvalidInput: an output that does not exist.
    """
    if not request.request_outputs:
        return list(DEFAULT)
    names = [output.name for output in request.request_outputs]
    for name in names:
        if name not in DATATYPES:
            raise InvalidInput(f"outputs: expected some of {', '.join(DATATYPES)}, found {name[:40]!r}")
    return names


def response(request: InferRequest, requested: list[str], result: Classification) -> InferResponse:
    """The answer."""
    return InferResponse(request.id, request.model_name, [_output(name, getattr(result, name)) for name in requested])


def _output(name: str, array: NDArray[Any]) -> InferOutput:
    return InferOutput(name=name, shape=list(array.shape), datatype=DATATYPES[name], data=np.ascontiguousarray(array))
