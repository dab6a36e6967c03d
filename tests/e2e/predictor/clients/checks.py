"""What the client processes share: the arrays they send, and a runner that says as JSON lines which check failed."""

import inspect
import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (7,), (2, 3), (2, 0, 3), (1, 2, 1, 3, 1))


def edges(datatype: str) -> np.ndarray:
    """The smallest and largest values of a datatype, and some between, that JSON can carry too."""
    dtype = np.dtype(DTYPES[datatype])
    if datatype == "BYTES":
        return np.array([b"", b"a", "Grüße \u2603 \U0001f600".encode(), b'"\\\n\x00', b"x" * 1000], dtype)
    if datatype == "BOOL":
        return np.array([True, False, False, True, True])
    if dtype.kind == "f":
        limits = np.finfo(dtype)
        return np.array([limits.min, -0.0, limits.smallest_subnormal, np.float64(1) / 3, limits.max], dtype)
    limits = np.iinfo(dtype)
    return np.array([limits.min, limits.max, 0, 1, limits.max - 1], dtype)


def filled(datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of any shape out of the edges."""
    return np.resize(edges(datatype), shape) if np.prod(shape) else np.empty(shape, DTYPES[datatype])


def same(found: Any, expected: np.ndarray) -> None:
    """Equal to the last bit: NaN, the sign of zero and the datatype too."""
    assert found is not None, "no output"
    assert tuple(found.shape) == expected.shape, (found.shape, expected.shape)
    if expected.dtype.kind == "O":
        texts = [item.encode() if isinstance(item, str) else bytes(item) for item in found.ravel()]
        assert texts == list(expected.ravel()), (texts, expected)
        return
    assert found.dtype == expected.dtype, (found.dtype, expected.dtype)
    assert found.tobytes() == expected.tobytes(), (found, expected)


async def maybe(result: Any) -> Any:
    """What a client of either kind gives: a value, or something to wait for."""
    return await result if inspect.isawaitable(result) else result


def checks_of(owner: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The methods whose names begin with `check_`, in the order they are written."""
    for name in vars(type(owner)):
        if name.startswith("check_"):
            yield name, getattr(owner, name)


async def run(owner: Any) -> None:
    """Each check, with a line on stdout."""
    for name, check in checks_of(owner):
        failed = None
        try:
            await maybe(check())
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - told to the test
            failed = traceback.format_exc(limit=-6)
        print(json.dumps({"check": name, "failed": failed}), flush=True)
