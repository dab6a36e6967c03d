"""A model's `InferResponse` -> the bytes of a V2 REST answer, with the outputs and the encoding that were asked for.

Called by `wire/http/inference.py`; `wire/grpc_messages.py` shares `selected` and `array_of`.

    | JSON, Inference-Header-Content-Length bytes | output 0 | output 1 ... |
"""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput, ModelFault
from moorage_predictor.wire.classification import classified
from moorage_predictor.wire.datatypes import BY_DTYPE, BYTES, DATATYPES, Datatype
from moorage_predictor.wire.messages import InferOutput, InferRequest, InferResponse
from moorage_predictor.wire.pieces import PIECE, json_of
from moorage_predictor.wire.tensor import bytes_of_elements, short

_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
_FEW: Final = 32

Part = bytes | memoryview
Labels = Callable[[str], tuple[str, ...] | None]
"""Names of the classes of an output, if the model has them."""


class Selected:
    """One output to send."""

    __slots__ = ("array", "binary", "datatype", "name", "parameters")

    def __init__(
        self, name: str, datatype: Datatype, array: NDArray[Any], binary: bool, parameters: dict[str, Any] | None
    ) -> None:
        self.name = name
        self.datatype = datatype
        self.array = array
        self.binary = binary
        self.parameters = parameters


def infer_response(
    request: InferRequest, response: InferResponse, version: str, labels: Labels
) -> tuple[list[Part], int | None]:
    """The parts of the body, and the length of the JSON if binary parts follow it.

    Raises:
        InvalidInput: an output is asked for that is not there, or asked for in JSON and cannot be.
        ModelFault: an output is not what it says.
    """
    outputs: list[dict[str, Any]] = []
    parts: list[Part] = []
    for output in selected(request, response, labels):
        described: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype.name,
            "shape": list(output.array.shape),
        }
        if output.binary:
            part = raw_bytes(output)
            described["parameters"] = {**(output.parameters or {}), "binary_data_size": len(part)}
            parts.append(part)
        else:
            if output.parameters:
                described["parameters"] = output.parameters
            described["data"] = _json_data(output)
        outputs.append(described)
    document: dict[str, Any] = {"model_name": request.model_name, "model_version": version, "outputs": outputs}
    if (request_id := request.id or response.id) is not None:
        document["id"] = request_id
    if response.parameters:
        document["parameters"] = plain_parameters(response.parameters)
    head = orjson.dumps(document, option=_NUMPY)
    return [head, *parts], len(head) if parts else None


def selected(request: InferRequest, response: InferResponse, labels: Labels) -> list[Selected]:
    """The outputs that the request names, in its order, or all of them in the model's.

    Raises:
        InvalidInput: one is asked for that is not there.
        ModelFault: an output is not what it says.
    """
    binary = bool(request.use_binary_outputs)
    wanted = request.request_outputs
    if not wanted:
        return [_select(output, binary, None, labels) for output in response.outputs]
    by_name = {output.name: output for output in response.outputs}
    chosen = []
    for ask in wanted:
        output = by_name.get(ask.name)
        if output is None:
            raise InvalidInput(f"outputs: expected some of {', '.join(by_name)}, found {short(ask.name)}")
        own = ask.binary_data
        chosen.append(_select(output, binary if own is None else own, ask.parameters, labels))
    return chosen


def _select(output: InferOutput, binary: bool, asked: dict[str, Any] | None, labels: Labels) -> Selected:
    datatype = DATATYPES.get(output.datatype)
    if datatype is None:
        raise ModelFault(f"output {output.name}: the model says datatype {short(output.datatype)}")
    array = array_of(output, datatype)
    if asked and "classification" in asked:
        array = classified(output.name, array, asked["classification"], labels(output.name))
        datatype = BYTES
    given = output.parameters
    return Selected(output.name, datatype, array, binary, plain_parameters(given) if given else None)


def array_of(output: InferOutput, datatype: Datatype) -> NDArray[Any]:
    """An output's data: an array, or of the SDK's outputs whichever of three forms the model chose.

    Raises:
        ModelFault: it does not fit the datatype or the shape that the output says.
    """
    data: Any = output.data
    shape = output.shape
    if not isinstance(data, np.ndarray):
        if data is None and getattr(output, "_raw_data", None) is None:
            raise ModelFault(f"output {output.name}: the model gave no data")
        try:
            data = output.as_numpy()
        except (ValueError, TypeError, OverflowError) as error:
            raise ModelFault(f"output {output.name}: the data does not fit {datatype.name} {short(shape)}") from error
    dtype = data.dtype
    if dtype != datatype.dtype:
        found = BY_DTYPE.get(dtype.newbyteorder("<")) or (BYTES if dtype.kind in "SU" else None)
        if found is not datatype:
            raise ModelFault(f"output {output.name}: says {datatype.name}, holds {dtype}")
        data = data.astype(datatype.dtype)  # another byte order, or strings of one length
    if data.shape != tuple(shape):
        raise ModelFault(f"output {output.name}: says shape {short(shape)}, holds {list(data.shape)}")
    array: NDArray[Any] = data
    return array


def raw_bytes(output: Selected) -> Part:
    """As in the binary extension; a view of the model's own array wherever it lies in one piece."""
    if output.datatype is BYTES:
        return bytes_of_elements(output.array)
    return np.ascontiguousarray(output.array).reshape(-1).view(np.uint8).data


def _json_data(output: Selected) -> Any:
    flat = output.array.ravel()
    kind = flat.dtype.kind
    if kind == "O":
        return [_text(output.name, item) for item in flat]
    if kind == "f" and not _finite(flat):
        raise InvalidInput(
            f"output {output.name}: holds NaN or infinity, which JSON cannot carry; ask for it with binary_data: true"
        )
    return flat if flat.size <= PIECE else json_of(flat)


def _finite(flat: NDArray[Any]) -> bool:
    # For a few numbers numpy's own way costs several times as much.
    return all(map(math.isfinite, flat.tolist())) if flat.size <= _FEW else bool(np.isfinite(flat).all())


def _text(name: str, item: object) -> str:
    if isinstance(item, bytes):
        try:
            return item.decode()
        except UnicodeDecodeError:
            raise InvalidInput(
                f"output {name}: holds bytes that are not UTF-8, which JSON cannot carry; ask for it with binary_data: true"
            ) from None
    return str(item)


def plain_parameters(parameters: Any) -> dict[str, Any]:
    """As JSON has them; the SDK gives either a dictionary or gRPC's messages. Lengths of binary data are ours to say."""
    plain = {}
    for key, value in parameters.items():
        if key != "binary_data_size":
            plain[key] = (
                value
                if isinstance(value, (str, bool, int, float))
                else getattr(value, value.WhichOneof("parameter_choice"))
            )
    return plain
