"""A V2 REST body -> the SDK's `InferRequest`. Called by `wire/dataplane.py`.

The SDK's own decoder cannot take a binary JPEG (it insists on UTF-8) and answers a wrong length with a 500, so the
JSON and the binary parts are split here; the request object is the SDK's.

    | JSON, Inference-Header-Content-Length bytes | input 0, binary_data_size bytes | input 1 ... |
"""

from typing import Any, Final

import orjson
from kserve import InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput

from moorage_predictor.errors import InvalidInput

_MAX_ITEMS: Final = 64
"""Most inputs, and most requested outputs."""


def parse_json(body: bytes, name: str = "the body") -> dict[str, Any]:
    """A JSON object.

    Raises:
        InvalidInput: anything else.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(
            f"{name}: not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from error
    if not isinstance(value, dict):
        raise InvalidInput(f"{name}: expected a JSON object, found {_kind(value)}")
    return value


def infer_request(body: bytes, json_length: str | None, model_name: str) -> InferRequest:
    """The request in `body`.

    Raises:
        InvalidInput: it does not follow the protocol; the message says where.
    """
    header, rest = _split(body, json_length)
    document = parse_json(header)
    inputs: list[InferInput] = []
    raws: list[bytes | None] = []
    for item in _objects(document, "inputs", required=True):
        tensor, raw, rest = _input(item, rest)
        inputs.append(tensor)
        raws.append(raw)
    if rest:
        raise InvalidInput(f"the body: {len(rest)} bytes follow the last input's data")
    outputs = [
        RequestedOutput(_text(item, "name", "outputs"), _parameters(item))
        for item in _objects(document, "outputs", required=False)
    ]
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInput(f"id: expected a string, found {_kind(request_id)}")
    return InferRequest(
        model_name=model_name,
        infer_inputs=inputs,
        request_id=request_id,
        raw_inputs=raws if any(raw is not None for raw in raws) else None,
        parameters=_parameters(document),
        request_outputs=outputs or None,
    )


def _split(body: bytes, json_length: str | None) -> tuple[bytes, bytes]:
    if json_length is None:
        return body, b""
    if not (json_length.isascii() and json_length.isdigit() and len(json_length) < 16):
        raise InvalidInput("Inference-Header-Content-Length: expected a number of bytes")
    length = int(json_length)
    if length > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length: {length} is more than the body's {len(body)} bytes")
    return body[:length], body[length:]


def _objects(document: dict[str, Any], key: str, *, required: bool) -> list[dict[str, Any]]:
    value = document.get(key)
    if value is None and not required:
        return []
    if not isinstance(value, list) or (required and not value):
        raise InvalidInput(f"{key}: expected a list of objects, found {_kind(value)}")
    if len(value) > _MAX_ITEMS:
        raise InvalidInput(f"{key}: expected at most {_MAX_ITEMS}, found {len(value)}")
    for item in value:
        if not isinstance(item, dict):
            raise InvalidInput(f"{key}: expected objects, found {_kind(item)}")
    return value


def _input(item: dict[str, Any], rest: bytes) -> tuple[InferInput, bytes | None, bytes]:
    name = _text(item, "name", "inputs")
    parameters = _parameters(item)
    tensor = InferInput(
        name=name,
        shape=item.get("shape"),
        datatype=_text(item, "datatype", f"inputs: {name[:40]}"),
        data=item.get("data"),
        parameters=parameters,
    )
    size = parameters.get("binary_data_size")
    if (size is None) == (item.get("data") is None):
        raise InvalidInput(f"{name[:40]}: expected either data or parameters.binary_data_size")
    if size is None:
        return tensor, None, rest
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise InvalidInput(f"{name[:40]}: binary_data_size: expected 0 to {len(rest)} bytes, found {str(size)[:20]}")
    return tensor, rest[:size], rest[size:]


def _parameters(item: dict[str, Any]) -> dict[str, Any]:
    value = item.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"parameters: expected an object, found {_kind(value)}")
    for key in ("binary_data", "binary_data_output"):
        if key in value and not isinstance(value[key], bool):
            raise InvalidInput(f"parameters.{key}: expected true or false, found {_kind(value[key])}")
    return value


def _text(item: dict[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise InvalidInput(f"{where}: {key}: expected a string, found {_kind(value)}")
    return value


def _kind(value: object) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        type(None): "nothing",
    }
    return names.get(type(value), "a number") if value != [] else "an empty list"
