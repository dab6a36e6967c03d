"""One V2 input tensor -> images, strictly. Called by `wire/model.py` for REST and gRPC alike.

The SDK's own `as_numpy()` answers a client's mistake with a 500 or, worse, a 200: negative dimensions, `true` as a
number, strings that look like numbers, NaN, bytes that do not add up. Here each is an `InvalidInput` that says so.

| `image`  | shape             | in JSON                  | in binary and gRPC raw contents       |
|----------|-------------------|--------------------------|---------------------------------------|
| BYTES    | [n] or [n,1]      | base64 of the file       | 4-byte little-endian length, the file |
| UINT8    | [n,height,width,3]| flat or nested numbers   | row-major bytes                       |
| FP32     | [n,3,height,width]| flat or nested numbers   | little-endian, row-major              |
"""

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from kserve import InferInput
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput, PayloadTooLarge
from moorage_predictor.tasks.image_classification import EncodedImages, Images, PixelImages, PreparedImages

INPUT_NAME: Final = "image"
MAX_BATCH: Final = 64
"""Most images in one request."""

_DTYPES: Final[dict[str, np.dtype[Any]]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
_LENGTH: Final = struct.Struct("<I")
_MAX_DIMENSIONS: Final = 4


def images_of(inputs: Sequence[InferInput], max_image_bytes: int) -> Images:
    """The images of one request.

    Raises:
        InvalidInput: the inputs are not exactly one well-formed `image`.
    """
    names = [tensor.name for tensor in inputs]
    if names != [INPUT_NAME]:
        raise InvalidInput(f"inputs: expected exactly one, named '{INPUT_NAME}', found {_short(names)}")
    tensor = inputs[0]
    shape = _shape(tensor.shape)
    if tensor.datatype == "BYTES":
        if len(shape) != 1 and shape[1:] != [1]:
            raise InvalidInput(f"image: expected BYTES shape [n], found {shape}")
        return EncodedImages(_files(tensor, shape[0], max_image_bytes))
    if tensor.datatype not in _DTYPES:
        raise InvalidInput(f"image: expected datatype BYTES, UINT8 or FP32, found {_short(tensor.datatype)}")
    layout, channel = ("[n,height,width,3]", 3) if tensor.datatype == "UINT8" else ("[n,3,height,width]", 1)
    if len(shape) != 4 or shape[channel] != 3:
        raise InvalidInput(f"image: expected {tensor.datatype} shape {layout}, found {shape}")
    array = _array(tensor, shape)
    if tensor.datatype == "UINT8":
        return PixelImages(array)
    if not np.isfinite(array).all():
        raise InvalidInput("image: FP32 data contains NaN or infinity")
    return PreparedImages(array.astype(np.float32, copy=False))


def _shape(given: Any) -> list[int]:
    # Any: from JSON, unchecked by the SDK.
    if not isinstance(given, list) or not given:
        raise InvalidInput(f"image: shape: expected a list of positive integers, found {_short(given)}")
    if len(given) > _MAX_DIMENSIONS:
        raise InvalidInput(f"image: shape: expected at most {_MAX_DIMENSIONS} dimensions, found {len(given)}")
    for side in given:
        if not isinstance(side, int) or isinstance(side, bool) or side < 1:
            raise InvalidInput(f"image: shape: expected positive integers, found {_short(given)}")
    if given[0] > MAX_BATCH:
        raise InvalidInput(f"image: expected at most {MAX_BATCH} images in one request, found {given[0]}")
    return list(given)


def _raw(tensor: InferInput) -> bytes | None:
    raw: bytes | None = tensor._raw_data  # the SDK has no public name for it
    return raw


def _files(tensor: InferInput, count: int, max_bytes: int) -> tuple[bytes, ...]:
    raw = _raw(tensor)
    found = _flat(tensor.data) if raw is None else _split(raw)
    if len(found) != count:
        raise InvalidInput(f"image: shape says {count} elements, data has {len(found)}")
    return tuple(_file(index, item, max_bytes) for index, item in enumerate(found))


def _split(raw: bytes) -> list[bytes]:
    files: list[bytes] = []
    at = 0
    while at < len(raw):
        if at + _LENGTH.size > len(raw):
            raise InvalidInput("image: binary BYTES data ends inside a length")
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + length > len(raw):
            raise InvalidInput(
                f"image: binary BYTES element {len(files)}: expected {length} bytes, found {len(raw) - at}"
            )
        if len(files) == MAX_BATCH:
            raise InvalidInput(f"image: expected at most {MAX_BATCH} images in one request")
        files.append(raw[at : at + length])
        at += length
    return files


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidInput("image: data: expected a list")
    if all(isinstance(item, list) and len(item) == 1 for item in data):
        return [item[0] for item in data]
    return data


def _file(index: int, item: Any, max_bytes: int) -> bytes:
    if isinstance(item, bytes):  # from a binary part, or gRPC's bytes_contents
        return item
    if not isinstance(item, str):
        raise InvalidInput(f"image {index}: expected a base64 string, found {type(item).__name__}")
    return from_base64(item, f"image {index}", max_bytes)


def from_base64(text: str, name: str, max_bytes: int) -> bytes:
    """The bytes of standard, padded base64.

    Raises:
        InvalidInput: another alphabet, bad padding, white space, or a data: URI.
        PayloadTooLarge: more than `max_bytes` when decoded.
    """
    if len(text) // 4 * 3 > max_bytes + 2:
        raise PayloadTooLarge(f"{name}: expected at most {max_bytes} bytes, found about {len(text) // 4 * 3}")
    if text.startswith("data:"):
        raise InvalidInput(f"{name}: expected base64 alone, found a data: URI; send what follows its comma")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{name}: not standard padded base64") from error


def _array(tensor: InferInput, shape: list[int]) -> NDArray[Any]:
    dtype, size = _DTYPES[tensor.datatype], math.prod(shape)
    raw = _raw(tensor)
    if raw is not None:
        if len(raw) != size * dtype.itemsize:
            raise InvalidInput(f"image: shape {shape} needs {size * dtype.itemsize} bytes, data has {len(raw)}")
        return np.frombuffer(raw, dtype=dtype).reshape(shape)
    try:
        array = np.asarray(tensor.data)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput("image: data: expected numbers in rows of equal length") from error
    if array.size != size or (array.ndim > 1 and list(array.shape) != shape):
        raise InvalidInput(f"image: shape {shape} needs {size} elements, data has shape {list(array.shape)}")
    return _numbers(array, tensor.datatype).reshape(shape)


def _numbers(array: NDArray[Any], datatype: str) -> NDArray[Any]:
    if datatype == "UINT8":
        if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
            raise InvalidInput("image: UINT8 data: expected integers from 0 to 255")
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise InvalidInput("image: FP32 data: expected numbers")
    with np.errstate(over="ignore"):  # too large becomes infinity, which is refused
        return array.astype(np.float32)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
