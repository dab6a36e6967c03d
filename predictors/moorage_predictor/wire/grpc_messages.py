"""gRPC's messages <-> `InferRequest` and `InferResponse`. Called by `wire/grpc.py`.

Data comes raw (`raw_input_contents`, as Triton's clients send it) or typed (`contents`); the answer goes the same way,
save for FP16, which only raw bytes can carry.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage.api.limits import RequestLimits
from moorage.api.oip import open_inference_pb2 as pb
from moorage_predictor.errors import InvalidInput, ModelFault
from moorage_predictor.wire.datatypes import BYTES, Datatype
from moorage_predictor.wire.decode import MAX_NAME, check_unique, datatype_of
from moorage_predictor.wire.encode import Labels, raw_bytes, selected
from moorage_predictor.wire.messages import TYPES, InferRequest, InferResponse, Tensor, Types
from moorage_predictor.wire.pieces import PIECE
from moorage_predictor.wire.tensor import array_of_bytes, checked_shape, short

_MAX_PARAMETERS: Final = 1000
_NO_PARAMETERS: Final[dict[str, Any]] = {}


def infer_request(
    message: pb.ModelInferRequest, version: str, limits: RequestLimits, types: Types = TYPES
) -> InferRequest:
    """The request in a message, made of `types`.

    Raises:
        InvalidInput: it does not follow the protocol; the message says where.
    """
    inputs, raws = message.inputs, message.raw_input_contents
    if not inputs:
        raise InvalidInput("inputs: expected at least one, found none")
    if len(inputs) > limits.max_tensors or len(message.outputs) > limits.max_tensors:
        raise InvalidInput(f"expected at most {limits.max_tensors} inputs and as many outputs")
    if raws and len(raws) != len(inputs):
        raise InvalidInput(f"raw_input_contents: expected one for each of {len(inputs)} inputs, found {len(raws)}")
    tensors: list[Tensor] = []
    left = limits.max_elements
    for index, item in enumerate(inputs):
        tensor = _input(item, raws[index] if raws else None, left, limits, types.tensor)
        left -= tensor.as_numpy().size
        tensors.append(tensor)
    if len(tensors) > 1:
        check_unique([tensor.name for tensor in tensors], "inputs")
    outputs = [types.requested_output(output.name, _parameters(output.parameters)) for output in message.outputs]
    if len(outputs) > 1:
        check_unique([output.name for output in outputs], "outputs")
    parameters = _parameters(message.parameters) if message.parameters else None
    return types.request(
        message.model_name,
        tensors,
        message.id or None,
        parameters,
        outputs or None,
        version,
        from_grpc=True,
        raw=bool(raws),
    )


def _input(item: Any, raw: bytes | None, left: int, limits: RequestLimits, make: Callable[..., Tensor]) -> Tensor:
    name = item.name
    if not 0 < len(name) <= MAX_NAME:
        raise InvalidInput(f"inputs: name: expected 1 to {MAX_NAME} characters, found {short(name)}")
    datatype = datatype_of(name, item.datatype)
    shape, size = checked_shape(name, list(item.shape))
    if size > left:
        raise InvalidInput(f"{name}: expected at most {limits.max_elements} elements in a request, found {size} more")
    if raw is None:
        array = _typed(name, datatype, shape, size, item.contents)
    elif item.HasField("contents"):
        raise InvalidInput(f"{name}: expected either contents or raw_input_contents, found both")
    else:
        array = array_of_bytes(name, datatype, shape, size, raw, limits.max_json_values)
    # Over gRPC the SDK's lists hold bytes, and models decode them; over REST they hold text.
    data = array.ravel().tolist() if datatype is BYTES else None
    parameters = _parameters(item.parameters) if item.parameters else None
    return make(name, shape, datatype, array, data=data, parameters=parameters)


def _typed(name: str, datatype: Datatype, shape: list[int], size: int, contents: Any) -> NDArray[Any]:
    filled = [field.name for field, _ in contents.ListFields()]
    if filled and filled != [datatype.contents]:
        wanted = f"contents.{datatype.contents}" if datatype.contents else "raw_input_contents"
        raise InvalidInput(f"{name}: expected {datatype.name} data in {wanted}, found {', '.join(filled)}")
    values = getattr(contents, datatype.contents) if datatype.contents else ()
    if len(values) != size:
        raise InvalidInput(f"{name}: contents: shape {shape} needs {size} elements, found {len(values)}")
    if datatype is BYTES:
        array = np.empty(size, dtype=np.object_)
        array[:] = values
        return array.reshape(shape)
    try:
        return np.array(values, dtype=datatype.dtype).reshape(shape)
    except OverflowError:
        limits = np.iinfo(datatype.dtype)
        wrong = next(value for value in values if not limits.min <= value <= limits.max)
        raise InvalidInput(f"{name}: contents: {short(wrong)} is out of range for {datatype.name}") from None


def _parameters(given: Any) -> dict[str, Any]:
    if len(given) > _MAX_PARAMETERS:
        raise InvalidInput(f"parameters: expected at most {_MAX_PARAMETERS}, found {len(given)}")
    plain = {}
    for key, value in given.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is None:
            raise InvalidInput(f"parameters.{key[:40]}: expected a value, found none")
        plain[key] = getattr(value, choice)
    return plain


def infer_response(
    request: InferRequest, response: InferResponse, version: str, labels: Labels
) -> pb.ModelInferResponse:
    """The message.

    Raises:
        InvalidInput: an output is asked for that is not there.
        ModelFault: an output is not what it says.
    """
    outputs = selected(request, response, labels)
    message = pb.ModelInferResponse(model_name=request.model_name, model_version=version)
    if request_id := request.id or response.id:
        message.id = request_id
    raw = bool(request.use_binary_outputs) or any(not output.datatype.contents for output in outputs)
    for output in outputs:
        tensor = message.outputs.add(name=output.name, datatype=output.datatype.name, shape=output.array.shape)
        for key, value in (output.parameters or _NO_PARAMETERS).items():
            _set(tensor.parameters[key], value)
        if raw:
            message.raw_output_contents.append(bytes(raw_bytes(output)))
        elif output.datatype is BYTES:
            tensor.contents.bytes_contents.extend(
                item if isinstance(item, bytes) else str(item).encode() for item in output.array.ravel()
            )
        else:
            contents, flat = getattr(tensor.contents, output.datatype.contents), output.array.ravel()
            if flat.size <= PIECE:
                contents.extend(flat.tolist())
            else:
                for start in range(0, flat.size, PIECE):
                    contents.extend(flat[start : start + PIECE].tolist())
    for key, value in (response.parameters or _NO_PARAMETERS).items():
        _set(message.parameters[key], value)
    return message


def _set(parameter: Any, value: Any) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 64:
            raise ModelFault(f"a parameter of the model's answer is out of range: {short(value)}")
        if value < 1 << 63:
            parameter.int64_param = value
        else:
            parameter.uint64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = str(value)
