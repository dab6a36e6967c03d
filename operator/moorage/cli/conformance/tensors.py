"""Tensors as the protocol sends them: values to bytes and back, and whether two are the same bit for bit.

The base install has no numpy, and numpy would hide what is tested here: every element goes through `struct`.
"""

import struct
from dataclasses import dataclass
from math import prod
from typing import Any, Final

FORMATS: Final = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""Of `struct`, little-endian; BYTES has none: 4 bytes of length go before each element."""

CONTENTS: Final = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""gRPC's typed contents, by datatype; FP16 has none."""


class TensorError(ValueError):
    """Something that is not the tensor it says it is."""


@dataclass(frozen=True)
class Value:
    """A whole tensor: what is compared."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes
    binary: bool = False

    def unlike(self, other: "Value") -> str | None:
        """How `other` differs, in a few words; None for the same bits."""
        if self.datatype != other.datatype:
            return f"datatype {other.datatype} instead of {self.datatype}"
        if self.shape != other.shape:
            return f"shape {list(other.shape)} instead of {list(self.shape)}"
        if self.data != other.data:
            return f"bytes {_short(other.data)} instead of {_short(self.data)}"
        return None


def flat(data: Any) -> list[Any]:
    """The elements, row by row."""
    if not isinstance(data, (list, tuple)):
        return [data]
    return [element for item in data for element in flat(item)]


def element_bytes(element: Any) -> bytes:
    """One element of BYTES: text, bytes, or {hex: …} as it is written in a case."""
    if isinstance(element, dict):
        return bytes.fromhex(element["hex"])
    return element if isinstance(element, bytes) else str(element).encode()


def pack(datatype: str, data: Any) -> bytes:
    """The elements as the binary tensor data extension sends them.

    Raises:
        TensorError: an element that the datatype does not hold.
    """
    elements = flat(data)
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(raw)) + raw for raw in map(element_bytes, elements))
    if datatype not in FORMATS:
        raise TensorError(f"datatype {datatype!r}")
    try:
        return struct.pack(f"<{len(elements)}{FORMATS[datatype]}", *elements)
    except (struct.error, OverflowError) as error:
        raise TensorError(f"data that are no {datatype}: {error}") from error


def from_json(item: Any, raw: bytes | None) -> Value:
    """An output of an answer, its data in the JSON or in `raw`.

    Raises:
        TensorError: it is not of the protocol's form.
    """
    name, datatype, shape = (item.get(key) for key in ("name", "datatype", "shape"))
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise TensorError(f"output {name!r} of datatype {datatype!r}")
    if not isinstance(shape, list) or not all(isinstance(side, int) and not isinstance(side, bool) for side in shape):
        raise TensorError(f"output {name}: shape {shape!r}")
    if raw is not None:
        return Value(name, datatype, tuple(shape), raw, binary=True)
    if not isinstance(item.get("data"), list):
        raise TensorError(f"output {name}: data {str(item.get('data'))[:40]}")
    elements = flat(item["data"])
    if len(elements) != prod(shape):
        raise TensorError(f"output {name}: {len(elements)} elements for the shape {shape}")
    of_bool = {isinstance(element, bool) for element in elements}
    if elements and of_bool != {datatype == "BOOL"}:
        raise TensorError(f"output {name}: {elements[0]!r} for {datatype}")
    if datatype == "BYTES" and not all(isinstance(element, str) for element in elements):
        raise TensorError(f"output {name}: BYTES that are not text")
    return Value(name, datatype, tuple(shape), pack(datatype, elements))


def _short(data: bytes) -> str:
    return f"{data[:16].hex() or 'none'}{'…' if len(data) > 16 else ''}"
