"""One V2 input tensor -> images. Called by `wire/model.py` for REST and gRPC alike; the tensor itself is checked already.

| `image`  | shape             | in JSON                  | in binary and gRPC raw contents       |
|----------|-------------------|--------------------------|---------------------------------------|
| BYTES    | [n] or [n,1]      | base64 of the file       | 4-byte little-endian length, the file |
| UINT8    | [n,height,width,3]| flat or nested numbers   | row-major bytes                       |
| FP32     | [n,3,height,width]| flat or nested numbers   | little-endian, row-major              |
"""

import binascii
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pybase64

from moorage_predictor.errors import InvalidInput, PayloadTooLarge
from moorage_predictor.tasks.image_classification import EncodedImages, Images, PixelImages, PreparedImages
from moorage_predictor.wire.messages import Tensor
from moorage_predictor.wire.tensor import kind, short

INPUT_NAME: Final = "image"
MAX_BATCH: Final = 64
"""Most images in one request."""


def images_of(inputs: Sequence[Tensor], max_image_bytes: int) -> Images:
    """The images of one request.

    Raises:
        InvalidInput: the inputs are not exactly one well-formed `image`.
    """
    names = [tensor.name for tensor in inputs]
    if names != [INPUT_NAME]:
        raise InvalidInput(f"inputs: expected exactly one, named '{INPUT_NAME}', found {short(names)}")
    tensor = inputs[0]
    shape: list[int] = tensor.shape
    if not shape or shape[0] < 1:
        raise InvalidInput(f"image: expected at least one image, found shape {shape}")
    if shape[0] > MAX_BATCH:
        raise InvalidInput(f"image: expected at most {MAX_BATCH} images in one request, found {shape[0]}")
    array = tensor.as_numpy()
    if tensor.datatype == "BYTES":
        if len(shape) != 1 and shape[1:] != [1]:
            raise InvalidInput(f"image: expected BYTES shape [n], found {shape}")
        return EncodedImages(tuple(_file(index, item, max_image_bytes) for index, item in enumerate(array.ravel())))
    if tensor.datatype not in ("UINT8", "FP32"):
        raise InvalidInput(f"image: expected datatype BYTES, UINT8 or FP32, found {tensor.datatype}")
    layout, channel = ("[n,height,width,3]", 3) if tensor.datatype == "UINT8" else ("[n,3,height,width]", 1)
    if len(shape) != 4 or shape[channel] != 3 or not array.size:
        raise InvalidInput(f"image: expected {tensor.datatype} shape {layout}, found {shape}")
    if tensor.datatype == "UINT8":
        return PixelImages(array)
    if not np.isfinite(array).all():
        raise InvalidInput("image: FP32 data contains NaN or infinity")
    return PreparedImages(array)


def _file(index: int, item: Any, max_bytes: int) -> bytes:
    # Any: bytes from a binary part, text from JSON.
    return item if isinstance(item, bytes) else from_base64(item, f"image {index}", max_bytes)


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
        return pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{name}: not standard padded base64") from error


def instance_file(index: int, instance: Any, max_bytes: int) -> bytes:
    """The file of one V1 instance, `{"b64": "..."}`.

    Raises:
        InvalidInput: it is no such object.
    """
    if not isinstance(instance, dict) or set(instance) != {"b64"} or not isinstance(instance["b64"], (str, bytes)):
        found = f"an object with {short(sorted(map(str, instance)))}" if isinstance(instance, dict) else kind(instance)
        raise InvalidInput(f'instances[{index}]: expected {{"b64": "<the image file in base64>"}}, found {found}')
    given = instance["b64"]
    return given if isinstance(given, bytes) else from_base64(given, f"instances[{index}]", max_bytes)
