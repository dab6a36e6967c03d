"""The datatypes of the Open Inference Protocol. Looked up by `tensor.py`, `decode.py`, `encode.py` and `grpc_messages.py`."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np


@dataclass(frozen=True)
class Datatype:
    """One row. `dtype` is little-endian, as the protocol's bytes are; BYTES has elements of any length and object arrays."""

    name: str
    dtype: np.dtype[Any]
    python_types: frozenset[type]
    """What a JSON value may be; `bool` is no number here."""
    contents: str
    """The field of gRPC's InferTensorContents, or "" where only raw bytes can carry it."""
    config_name: str
    """In Triton's model configuration."""


_INT: Final = frozenset({int})
_FLOAT: Final = frozenset({int, float})


def _row(name: str, dtype: str, types: frozenset[type], contents: str, config_name: str = "") -> tuple[str, Datatype]:
    return name, Datatype(name, np.dtype(dtype), types, contents, config_name or f"TYPE_{name}")


DATATYPES: Final[dict[str, Datatype]] = dict(
    (
        _row("BOOL", "?", frozenset({bool}), "bool_contents"),
        _row("UINT8", "u1", _INT, "uint_contents"),
        _row("UINT16", "<u2", _INT, "uint_contents"),
        _row("UINT32", "<u4", _INT, "uint_contents"),
        _row("UINT64", "<u8", _INT, "uint64_contents"),
        _row("INT8", "i1", _INT, "int_contents"),
        _row("INT16", "<i2", _INT, "int_contents"),
        _row("INT32", "<i4", _INT, "int_contents"),
        _row("INT64", "<i8", _INT, "int64_contents"),
        _row("FP16", "<f2", _FLOAT, ""),
        _row("FP32", "<f4", _FLOAT, "fp32_contents"),
        _row("FP64", "<f8", _FLOAT, "fp64_contents"),
        _row("BYTES", "O", frozenset({str}), "bytes_contents", "TYPE_STRING"),
    )
)
BYTES: Final = DATATYPES["BYTES"]
BY_DTYPE: Final = {row.dtype: row for row in DATATYPES.values()}
"""Of an array, back to the protocol. Strings and bytes of fixed length are BYTES too; see `encode.py`."""
