"""The classification extension: the k best values of an output as `value:index[:label]`. Called by `wire/encode.py`."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.tensor import kind

_MAX_ELEMENTS: Final = 1_000_000
"""Each becomes a string if the caller likes."""


def classified(name: str, array: NDArray[Any], k: object, labels: tuple[str, ...] | None) -> NDArray[Any]:
    """BYTES [rows, k], best first; equal values keep the order of their indices. One dimension is one row: [k].

    Raises:
        InvalidInput: `k` is no positive integer, or the output has no numbers.
    """
    if type(k) is not int or k < 1:
        found = k if type(k) is int else kind(k)
        raise InvalidInput(f"outputs: {name}: classification: expected an integer from 1 on, found {found}")
    if array.dtype.kind not in "uif" or array.ndim == 0:
        raise InvalidInput(f"outputs: {name}: classification: expected an output of numbers")
    if array.size > _MAX_ELEMENTS:
        raise InvalidInput(
            f"outputs: {name}: classification: expected at most {_MAX_ELEMENTS} values, found {array.size}"
        )
    rows = array.reshape(1, -1) if array.ndim == 1 else array.reshape(len(array), math.prod(array.shape[1:]))
    # Unsigned and 64-bit integers cannot be negated; sorting the reverse gives the same order for all.
    ranked = np.where(np.isnan(rows), -np.inf, rows) if rows.dtype.kind == "f" else rows  # NaN is no best value
    reversed_order = np.argsort(ranked[:, ::-1], axis=1, kind="stable")[:, ::-1]
    best = (rows.shape[1] - 1 - reversed_order)[:, :k]
    texts = np.empty(best.shape, dtype=np.object_)
    for row, indices in enumerate(best.tolist()):
        for place, index in enumerate(indices):
            label = f":{labels[index]}" if labels is not None and index < len(labels) else ""
            texts[row, place] = f"{_number(rows[row, index])}:{index}{label}"
    return texts[0] if array.ndim == 1 else texts


def _number(value: Any) -> str:
    # With %f the Triton clients' examples expect six places; integers have none.
    return f"{value:f}" if isinstance(value, np.floating) else str(value)
