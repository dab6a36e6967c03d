"""The task's answer -> the SDK's `InferResponse`, with the outputs and the encoding that the request asked for."""

import uuid
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import Classification

DATATYPES: Final[Mapping[str, str]] = {
    "class_id": "INT64",
    "confidence": "FP32",
    "class_name": "BYTES",
    "logits": "FP32",
}
DEFAULT: Final = ("class_id", "confidence", "class_name")
"""What a request that names no outputs gets; `logits` comes only when asked for."""


def wanted(request: InferRequest) -> list[RequestedOutput]:
    """The outputs to answer with, in order, each with its own `binary_data`. Called before anything is computed.

    Raises:
        InvalidInput: an output that does not exist, or one named twice.
    """
    binary = bool(request.use_binary_outputs)
    if not request.request_outputs:
        return [RequestedOutput(name, {"binary_data": binary}) for name in DEFAULT]
    names = [output.name for output in request.request_outputs]
    for name in names:
        if name not in DATATYPES:
            raise InvalidInput(f"outputs: expected some of {', '.join(DATATYPES)}, found {name[:40]!r}")
    if len(set(names)) != len(names):
        raise InvalidInput("outputs: the same output is named twice")
    # The SDK forgets the request's binary_data_output for an output that is named without parameters.
    return [
        RequestedOutput(output.name, {"binary_data": binary if output.binary_data is None else output.binary_data})
        for output in request.request_outputs
    ]


def response(
    request: InferRequest, requested: list[RequestedOutput], result: Classification, model_version: str
) -> InferResponse:
    """The answer; `requested_outputs` is what makes the SDK send binary parts over REST."""
    return InferResponse(
        response_id=request.id or str(uuid.uuid4()),
        model_name=request.model_name,
        model_version=model_version,
        infer_outputs=[_output(output.name, getattr(result, output.name)) for output in requested],
        from_grpc=request.from_grpc,
        # Over gRPC arrays are sent raw anyway, and with True the SDK asks an array for its truth value.
        use_binary_outputs=False if request.from_grpc else request.use_binary_outputs,
        requested_outputs=None if request.from_grpc else requested,
    )


def _output(name: str, array: NDArray[Any]) -> InferOutput:
    return InferOutput(name=name, shape=list(array.shape), datatype=DATATYPES[name], data=np.ascontiguousarray(array))
