"""A V2 REST body -> an `InferRequest`, parsed and checked once. Called by `wire/http/inference.py`.

    | JSON, Inference-Header-Content-Length bytes | input 0, binary_data_size bytes | input 1 ... |

The SDK's own decoder answers a client's mistakes with 500 or, worse, 200, and copies binary tensors into lists. Here
each mistake is an `InvalidInput` that names the input, and a binary tensor is a view of the body.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import orjson

from moorage.api.limits import RequestLimits
from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.datatypes import BYTES, DATATYPES, Datatype
from moorage_predictor.wire.messages import TYPES, InferRequest, RequestedOutput, Tensor, Types
from moorage_predictor.wire.tensor import Buffer, array_of_bytes, array_of_json, checked_shape, kind, short

MAX_NAME: Final = 256
PARSE_HERE: Final = 1024 * 1024
"""Bytes; a longer body or message is parsed in a thread, so that the others' turn comes in between."""
_SEARCHED: Final = 64
_PARAMETER_TYPES: Final = frozenset({str, bool, int, float})
_BINARY_PARAMETERS: Final = ("binary_data", "binary_data_output")


def parse_object(body: Buffer, limits: RequestLimits) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        InvalidInput: not JSON, not an object, or more of it than the limits allow.
    """
    text = bytes(body) if isinstance(body, memoryview) else body
    if _more_than(limits.max_json_keys, b":", text):
        raise InvalidInput(f"the body: expected JSON with at most {limits.max_json_keys} keys")
    if _more_than(limits.max_json_values, b",", text):
        raise InvalidInput(f"the body: expected JSON with at most {limits.max_json_values} values")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(
            f"the body: not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from error
    if type(value) is not dict:
        raise InvalidInput(f"the body: expected a JSON object, found {kind(value)}")
    depth = limits.max_json_depth
    if (_more_than(depth // 2, b"[", text) or _more_than(depth // 2, b"{", text)) and _deeper_than(depth, value):
        raise InvalidInput(f"the body: expected JSON nested at most {depth} deep")
    return value


def _more_than(most: int, byte: bytes, text: bytes | bytearray) -> bool:
    """Whether the byte is there more often than that. An image in base64 is long and has none of these bytes, so the first
    few are searched for, several times as fast as they are counted.
    """
    if len(text) <= most:
        return False
    at = -1
    for _ in range(min(most, _SEARCHED) + 1):
        at = text.find(byte, at + 1)
        if at < 0:
            return False
    return most <= _SEARCHED or text.count(byte) > most


def _deeper_than(depth: int, value: Any) -> bool:
    """Level by level, so that no recursion is as deep as the client likes."""
    level = [value]
    for _ in range(depth):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def infer_request(
    body: Buffer, json_length: str | None, model_name: str, version: str, limits: RequestLimits, types: Types = TYPES
) -> InferRequest:
    """The request in `body`, made of `types`.

    Raises:
        InvalidInput: it does not follow the protocol; the message says where.
    """
    if json_length is None:
        document, binary = parse_object(body, limits), _Binary(b"")
    else:
        end = _json_end(json_length, len(body))
        document, binary = parse_object(body[:end], limits), _Binary(memoryview(body)[end:])
    inputs = _inputs(document, binary, limits, types.tensor)
    request_id = document.get("id")
    if request_id is not None and type(request_id) is not str:
        raise InvalidInput(f"id: expected a string, found {kind(request_id)}")
    parameters = document.get("parameters")
    if parameters is not None:
        check_parameters(parameters, "parameters")
    outputs = document.get("outputs")
    requested = None if outputs is None else _outputs(outputs, limits, types)
    return types.request(model_name, inputs, request_id, parameters, requested, version)


class _Binary:
    """What follows the JSON, taken input by input."""

    def __init__(self, view: Buffer) -> None:
        self.view = view
        self.at = 0

    def take(self, name: str, size: object) -> Buffer:
        left = len(self.view) - self.at
        if type(size) is not int or not 0 <= size <= left:
            raise InvalidInput(f"{name}: binary_data_size: expected 0 to {left} bytes, found {short(size)}")
        self.at += size
        return self.view[self.at - size : self.at]


def _json_end(json_length: str, body_length: int) -> int:
    if not (json_length.isascii() and json_length.isdigit() and len(json_length) < 16):
        raise InvalidInput("Inference-Header-Content-Length: expected a number of bytes")
    end = int(json_length)
    if end > body_length:
        raise InvalidInput(f"Inference-Header-Content-Length: {end} is more than the body's {body_length} bytes")
    return end


def _inputs(
    document: dict[str, Any], binary: _Binary, limits: RequestLimits, make: Callable[..., Tensor]
) -> list[Tensor]:
    items = document.get("inputs")
    if type(items) is not list or not items:
        raise InvalidInput(f"inputs: expected a list of objects, found {kind(items)}")
    if len(items) > limits.max_tensors:
        raise InvalidInput(f"inputs: expected at most {limits.max_tensors}, found {len(items)}")
    tensors: list[Tensor] = []
    left = limits.max_elements
    for item in items:
        tensor = _input(item, binary, left, limits, make)
        left -= tensor.as_numpy().size
        tensors.append(tensor)
    if len(tensors) > 1:
        check_unique([tensor.name for tensor in tensors], "inputs")
    if binary.at != len(binary.view):
        raise InvalidInput(f"the body: {len(binary.view) - binary.at} bytes follow the last input's data")
    return tensors


def _input(item: Any, binary: _Binary, left: int, limits: RequestLimits, make: Callable[..., Tensor]) -> Tensor:
    if type(item) is not dict:
        raise InvalidInput(f"inputs: expected objects, found {kind(item)}")
    name = item.get("name")
    if type(name) is not str or not 0 < len(name) <= MAX_NAME:
        raise InvalidInput(f"inputs: name: expected a string of 1 to {MAX_NAME} characters, found {short(name)}")
    datatype = datatype_of(name, item.get("datatype"))
    shape, size = checked_shape(name, item.get("shape"))
    if size > left:
        raise InvalidInput(f"{name}: expected at most {limits.max_elements} elements in a request, found {size} more")
    parameters = item.get("parameters")
    if parameters is not None:
        check_parameters(parameters, f"{name}: parameters")
    data = item.get("data")
    binary_size = None if parameters is None else parameters.get("binary_data_size")
    if (binary_size is None) == (data is None):
        raise InvalidInput(f"{name}: expected either data or parameters.binary_data_size")
    if binary_size is None:
        array = array_of_json(name, datatype, shape, size, data)
        return make(name, shape, datatype, array, data=data, parameters=parameters)
    raw = binary.take(name, binary_size)
    # A model that sends its request on must not announce bytes that it no longer has.
    parameters = {key: value for key, value in (parameters or {}).items() if key != "binary_data_size"}
    array = array_of_bytes(name, datatype, shape, size, raw, limits.max_json_values)
    return make(name, shape, datatype, array, parameters=parameters)


def datatype_of(name: str, given: Any) -> Datatype:
    """The row of a datatype's name.

    Raises:
        InvalidInput: there is none.
    """
    found = DATATYPES.get(given) if type(given) is str else None
    if found is None:
        found = DATATYPES.get(given.upper()) if type(given) is str else None
    if found is None:
        raise InvalidInput(f"{name}: datatype: expected one of {', '.join(DATATYPES)}, found {short(given)}")
    return found


def rows_of(request: InferRequest) -> int:
    """For the statistics: the first dimension of the first input."""
    shape: list[int] = request.inputs[0].shape
    return shape[0] if shape else 1


def is_batch(request: InferRequest) -> bool:
    """For the rate limits: whether any input has several rows, so that no caller chooses which of them is looked at."""
    return any(tensor.shape[0] > 1 for tensor in request.inputs if tensor.shape)


def check_parameters(parameters: Any, where: str) -> None:
    """Refuse what is not an object of strings, numbers and booleans.

    Raises:
        InvalidInput: otherwise.
    """
    if type(parameters) is not dict:
        raise InvalidInput(f"{where}: expected an object, found {kind(parameters)}")
    for key, value in parameters.items():
        if type(value) not in _PARAMETER_TYPES:
            raise InvalidInput(f"{where}.{key[:40]}: expected a string, a number or a boolean, found {kind(value)}")
    for key in _BINARY_PARAMETERS:
        if key in parameters and type(parameters[key]) is not bool:
            raise InvalidInput(f"{where}.{key}: expected true or false, found {kind(parameters[key])}")


def check_unique(names: list[str], where: str) -> None:
    """Refuse a name that is there twice.

    Raises:
        InvalidInput: one is.
    """
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"{where}: {short(twice)} is there twice")


def _outputs(items: Any, limits: RequestLimits, types: Types) -> list[RequestedOutput] | None:
    if type(items) is not list:
        raise InvalidInput(f"outputs: expected a list of objects, found {kind(items)}")
    if len(items) > limits.max_tensors:
        raise InvalidInput(f"outputs: expected at most {limits.max_tensors}, found {len(items)}")
    outputs = []
    for item in items:
        name = item.get("name") if type(item) is dict else None
        if type(name) is not str or not name:
            raise InvalidInput("outputs: expected objects with a name")
        parameters = item.get("parameters")
        if parameters is not None:
            check_parameters(parameters, f"outputs: {short(name)}: parameters")
        outputs.append(types.requested_output(name, parameters))
    check_unique([output.name for output in outputs], "outputs")
    return outputs or None


def raw_request(
    body: Buffer,
    input_types: list[dict[str, Any]],
    model_name: str,
    version: str,
    limits: RequestLimits,
    types: Types = TYPES,
) -> InferRequest:
    """A body that is one input's data and nothing else, for a model with one input: the raw binary request.

    A BYTES input gets the body as its one element; of another the first -1 in its declared shape is found from the size.

    Raises:
        InvalidInput: the model has several inputs, or the size does not fit.
    """
    names = {declared["name"] for declared in input_types}
    if len(names) != 1:
        raise InvalidInput(
            f"the body: raw data needs a model that declares exactly one input, {model_name} declares {len(names)}"
        )
    declared = next((one for one in input_types if one["datatype"] == "BYTES"), input_types[0])
    name, datatype = declared["name"], datatype_of(declared["name"], declared["datatype"])
    if datatype is BYTES:
        array = np.empty(1, dtype=np.object_)
        array[0] = bytes(body)
        shape = [1] * max(1, len(declared["shape"]))
        inputs = [types.tensor(name, shape, datatype, array.reshape(shape))]
        return types.request(model_name, inputs, model_version=version)
    shape = _shape_from_size(name, list(declared["shape"]), len(body), datatype.dtype.itemsize)
    size = len(body) // datatype.dtype.itemsize
    if size > limits.max_elements:
        raise InvalidInput(f"{name}: expected at most {limits.max_elements} elements in a request, found {size}")
    own = body if isinstance(body, bytearray) else bytearray(body)
    array = array_of_bytes(name, datatype, shape, size, own, limits.max_json_values)
    return types.request(model_name, [types.tensor(name, shape, datatype, array)], model_version=version)


def _shape_from_size(name: str, declared: list[int], size: int, itemsize: int) -> list[int]:
    known = itemsize
    for side in declared:
        known *= side if side >= 0 else 1
    free = [index for index, side in enumerate(declared) if side < 0]
    if known == 0 or size % known:
        raise InvalidInput(f"{name}: shape {declared} needs a multiple of {known} bytes, found {size}")
    if not free and size != known:
        raise InvalidInput(f"{name}: shape {declared} needs {known} bytes, found {size}")
    for index in free:
        declared[index] = 1
    if free:
        declared[free[0]] = size // known
    return declared
