"""From what stands in a request to the array of one tensor, checked, and back to bytes. Called by `decode.py`,
`grpc_messages.py` and `encode.py`.
"""

import math
import struct
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.datatypes import BYTES, DATATYPES, Datatype

Buffer = bytes | bytearray | memoryview

MAX_DIMENSIONS: Final = 32
_MAX_SIZE: Final = (2**63 - 1) // 8
"""Elements of the widest datatype that numpy can address."""
_LENGTH: Final = struct.Struct("<I")


def checked_shape(name: str, shape: object) -> tuple[list[int], int]:
    """The shape, and how many elements it has.

    Raises:
        InvalidInput: not a list of integers from 0 on.
    """
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS:
        raise InvalidInput(f"{name}: shape: expected a list of at most {MAX_DIMENSIONS} integers, found {short(shape)}")
    for side in shape:
        if type(side) is not int or not 0 <= side < 1 << 62:
            raise InvalidInput(f"{name}: shape: expected integers from 0 on, found {short(shape)}")
    size = math.prod(shape)
    if size == 0 and math.prod(side or 1 for side in shape) > _MAX_SIZE:  # numpy counts such a shape too
        raise InvalidInput(f"{name}: shape: expected fewer elements than {short(shape)} says")
    return shape, size


def array_of_json(name: str, datatype: Datatype, shape: list[int], size: int, data: object) -> NDArray[Any]:
    """The array of a JSON value, flat or nested in the tensor's shape, each element of the datatype's own kind.

    Raises:
        InvalidInput: otherwise.
    """
    if type(data) is not list:
        raise InvalidInput(f"{name}: data: expected a list, found {kind(data)}")
    flat: list[Any] = data
    if flat and type(flat[0]) is list and len(shape) > 1:
        flat = _flattened(name, shape, flat)
    if len(flat) != size:
        raise InvalidInput(f"{name}: data: shape {shape} needs {size} elements, found {len(flat)}")
    if not datatype.python_types.issuperset(map(type, flat)):
        wrong = next(item for item in flat if type(item) not in datatype.python_types)
        raise InvalidInput(f"{name}: data: expected {_EXPECTED[datatype.name]}, found {kind(wrong)} {short(wrong)}")
    if not _in_range(flat, datatype):
        wrong = next(item for item in flat if not _in_range([item], datatype))
        raise InvalidInput(f"{name}: data: {short(wrong)} is out of range for {datatype.name}")
    array = np.array(flat, dtype=datatype.dtype)
    return array if len(shape) == 1 else array.reshape(shape)


def _in_range(flat: list[Any], datatype: Datatype) -> bool:
    limits = _LIMITS.get(datatype.name)
    if limits is None or not flat:
        return True
    return bool(limits[0] < min(flat) and max(flat) < limits[1])


def _limits(datatype: Datatype) -> tuple[float, float]:
    """Open bounds. Of FP16 and FP32 half a step beyond the largest number, from where on rounding gives infinity."""
    if datatype.dtype.kind != "f":
        of_int = np.iinfo(datatype.dtype)
        return of_int.min - 1, of_int.max + 1
    largest = np.finfo(datatype.dtype).max
    step = float(largest) - float(np.nextafter(largest, datatype.dtype.type(0)))
    beyond = float(largest) + step / 2
    return -beyond, beyond


def _flattened(name: str, shape: list[int], data: list[Any]) -> list[Any]:
    """The elements of nested lists, whose lengths must be the shape's."""
    level = data
    if len(level) != shape[0]:
        raise InvalidInput(f"{name}: data: shape {shape} needs {shape[0]} rows, found {len(level)}")
    for expected in shape[1:]:
        if not level:
            break
        if {*map(type, level)} != {list}:
            raise InvalidInput(
                f"{name}: data: expected lists nested as in shape {shape}, found other values among them"
            )
        if {*map(len, level)} != {expected}:
            raise InvalidInput(f"{name}: data: expected rows of {expected} as in shape {shape}, found another length")
        level = list(chain.from_iterable(level))
    return level


_LIMITS: Final = {name: _limits(row) for name, row in DATATYPES.items() if row.dtype.kind in "uif" and name != "FP64"}
"""JSON has no infinity, and no integer that FP64 cannot round."""
_EXPECTED: Final = {
    name: {"b": "true or false", "u": "integers", "i": "integers", "f": "numbers", "O": "strings"}[row.dtype.kind]
    for name, row in DATATYPES.items()
}


def array_of_bytes(
    name: str, datatype: Datatype, shape: list[int], size: int, raw: Buffer, max_items: int
) -> NDArray[Any]:
    """The array that lies in little-endian bytes; a view of them, save for BYTES.

    Raises:
        InvalidInput: more or fewer bytes than the shape needs.
    """
    if datatype is BYTES:
        if size > max_items:
            raise InvalidInput(f"{name}: expected at most {max_items} BYTES elements, found {size}")
        found = elements(name, raw, size)
        if len(found) != size:
            more = "more" if len(found) > size else str(len(found))
            raise InvalidInput(f"{name}: shape {shape} needs {size} elements, the bytes hold {more}")
        array = np.empty(size, dtype=np.object_)
        array[:] = found
        return array.reshape(shape)
    expected = size * datatype.dtype.itemsize
    if len(raw) != expected:
        raise InvalidInput(f"{name}: shape {shape} of {datatype.name} needs {expected} bytes, found {len(raw)}")
    array = np.frombuffer(raw, dtype=datatype.dtype) if size else np.empty(0, dtype=datatype.dtype)
    if datatype.dtype.kind == "b" and size and array.view(np.uint8).max() > 1:
        raise InvalidInput(f"{name}: expected BOOL bytes of 0 or 1, found {int(array.view(np.uint8).max())}")
    return array.reshape(shape)


def elements(name: str, raw: Buffer, most: int) -> list[bytes]:
    """The elements of serialised BYTES: each a 4-byte little-endian length, then that many bytes. It ends with the first
    that is one too many.

    Raises:
        InvalidInput: the bytes end inside an element.
    """
    data = bytes(raw)  # one copy of all, so that each element is one slice
    found: list[bytes] = []
    unpack, at, end = _LENGTH.unpack_from, 0, len(data)
    while at < end and len(found) <= most:
        start = at + 4
        if start > end:
            raise InvalidInput(f"{name}: the bytes end inside an element's length")
        (length,) = unpack(data, at)
        at = start + length
        if at > end:
            raise InvalidInput(f"{name}: an element says {length} bytes, {end - start} are left")
        found.append(data[start:at])
    return found


def bytes_of_elements(array: NDArray[Any]) -> bytes:
    """The serialised BYTES of an array of `str`, `bytes` or numbers."""
    parts: list[bytes] = []
    for item in array.ravel().tolist():
        element = item if isinstance(item, bytes) else str(item).encode()
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def kind(value: object) -> str:
    """In words of JSON, for messages."""
    if value == [] and type(value) is list:
        return "an empty list"
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        type(None): "nothing",
    }
    return names.get(type(value), "a number")


def short(value: object) -> str:
    """What was found, for messages: never long."""
    text = repr(value[:8] if isinstance(value, (str, bytes, list)) and len(value) > 200 else value)
    return text if len(text) <= 80 else text[:77] + "..."
