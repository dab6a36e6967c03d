"""What an ONNX file says of its outputs, read from its bytes without the `onnx` package. Called by `estimators/onnx.py`, after
onnxruntime has taken the file.

ModelProto.graph = 7; GraphProto.node = 1; NodeProto: input = 1, output = 2, op_type = 4, attribute = 5; AttributeProto:
name = 1, ints = 8, strings = 9 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from collections.abc import Iterator
from typing import Final

_GRAPH: Final = 7
_NODE: Final = 1
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5
_NAME, _INTS, _STRINGS = 1, 8, 9
_VARINT, _LONG, _BYTES, _SHORT = 0, 1, 2, 5
_KEEP_VALUES: Final = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "ZipMap"})
_LABELS: Final = frozenset({b"classlabels_strings", b"classlabels_ints", b"classlabels_int64s"})


def read(content: bytes) -> tuple[dict[str, str], tuple[str, ...] | None]:
    """The operator whose values each tensor has, by the tensor's name; and the names of the classes, in the order of the
    probabilities, if a classifier in the graph lists them."""
    operators: dict[str, str] = {}
    labels: tuple[str, ...] | None = None
    for graph in (part for field, part in _fields(content) if field == _GRAPH):
        for node in (part for field, part in _fields(graph) if field == _NODE):
            inputs, outputs, operator = [], [], ""
            for field, part in _fields(node):
                if field == _INPUT:
                    inputs.append(part.decode())
                elif field == _OUTPUT:
                    outputs.append(part.decode())
                elif field == _OPERATOR:
                    operator = part.decode()
                elif field == _ATTRIBUTE:
                    labels = _labels(part) or labels
            if operator in _KEEP_VALUES and inputs:
                operator = operators.get(inputs[0], operator)
            operators.update(dict.fromkeys(outputs, operator))
    return operators, labels


def _labels(attribute: bytes) -> tuple[str, ...] | None:
    name, values = b"", []
    for field, part in _fields(attribute):
        if field == _NAME:
            name = part
        elif field == _STRINGS:
            values.append(part.decode())
        elif field == _INTS:
            values.extend(_integers(part))
    return tuple(values) if name in _LABELS else None


def _integers(packed: bytes) -> Iterator[str]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield str(value - (1 << 64) if value >> 63 else value)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Each field's number and its bytes; a number that stands alone as the bytes that it is written in."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == _VARINT:
            _, end = _varint(message, at)
        elif wire == _BYTES:
            length, at = _varint(message, at)
            end = at + length
        elif wire in (_LONG, _SHORT):
            end = at + (8 if wire == _LONG else 4)
        else:
            raise ValueError(f"wire type {wire}")
        yield tag >> 3, message[at:end]
        at = end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
