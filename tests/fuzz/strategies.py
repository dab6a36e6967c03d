"""What the fuzzers send: tensors of every datatype and shape, any JSON, and requests with a few bytes changed."""

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from moorage_predictor.wire.datatypes import DATATYPES

NUMBERS = [name for name in DATATYPES if name != "BYTES"]
WORDS = ("inputs", "name", "shape", "datatype", "data", "parameters", "outputs", "id", "binary_data_size",
         "binary_data", "binary_data_output", "classification", "x")  # fmt: skip
SHAPES = st.lists(st.integers(0, 4), max_size=5).map(tuple)


@dataclass(frozen=True)
class Named:
    """One tensor."""

    name: str
    datatype: str
    array: np.ndarray

    def raw(self) -> bytes:
        if self.datatype != "BYTES":
            return self.array.tobytes()
        return b"".join(struct.pack("<I", len(item)) + item for item in self.array.ravel())


@st.composite
def tensors(draw: st.DrawFn, datatypes: tuple[str, ...] = tuple(DATATYPES), *, text: bool = False) -> Named:
    """With `text`, only what JSON can carry: finite numbers and UTF-8."""
    datatype = draw(st.sampled_from(datatypes))
    shape = draw(SHAPES)
    name = draw(st.text(min_size=1, max_size=10))
    if datatype == "BYTES":
        words = st.text(max_size=8).map(str.encode) if text else st.binary(max_size=8)
        size = int(np.prod(shape))
        array = np.empty(size, object)
        array[:] = draw(st.lists(words, min_size=size, max_size=size))
        return Named(name, datatype, array.reshape(shape))
    dtype = DATATYPES[datatype].dtype
    elements = npst.from_dtype(dtype, allow_nan=False, allow_infinity=False) if text and dtype.kind == "f" else None
    return Named(name, datatype, draw(npst.arrays(dtype, shape, elements=elements)))


def several(**options: Any) -> st.SearchStrategy[list[Named]]:
    return st.lists(tensors(**options), min_size=1, max_size=4, unique_by=lambda tensor: tensor.name)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([*DATATYPES, "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner),
    max_leaves=30,
)


def binary_body(given: list[Named], binary: list[bool], **more: Any) -> tuple[bytes, int]:
    """A V2 body with some inputs in JSON and the others after it, and where the JSON ends."""
    items, parts = [], []
    for tensor, in_binary in zip(given, binary, strict=True):
        item: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.array.shape)}
        if in_binary:
            parts.append(tensor.raw())
            item["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            flat = tensor.array.ravel().tolist()
            item["data"] = [element.decode() for element in flat] if tensor.datatype == "BYTES" else flat
        items.append(item)
    head = json.dumps({"inputs": items, **more}).encode()
    return head + b"".join(parts), len(head)


@st.composite
def changed(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes with some of them replaced, cut out, doubled or put in."""
    body = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        end = min(len(body), at + draw(st.integers(0, 8)))
        body[at:end] = draw(st.binary(max_size=8) | st.just(bytes(body[at:end]) * 2))
    return bytes(body)
