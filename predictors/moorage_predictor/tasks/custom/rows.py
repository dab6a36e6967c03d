"""What stands in for hooks that a class has not: an item of a request as an array, rows as one batch, results apart again.
Called by `hooks.py`. Tensors of torch are known by their methods, so that a class without torch need not import it.
"""

import base64
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput, ModelFault


def array_of(item: Any, name: str) -> Any:
    """An item as numbers: fractions as float32, as V2's clients send them. Text and bytes stay what they are; an object
    becomes a dictionary of such.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(item, dict):
        return {key: array_of(value, f"{name}.{key}") for key, value in item.items()}
    if isinstance(item, (np.ndarray, np.generic, str, bytes)):
        return item
    try:
        array = np.asarray(item)
    except ValueError as error:
        raise InvalidInput(f"{name}: expected lists of equal length") from error
    if array.dtype.kind == "f":
        return as_float32(array, name)
    if array.dtype.kind not in "biu":
        raise InvalidInput(f"{name}: expected numbers")
    return array


def as_float32(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """The same numbers.

    Raises:
        InvalidInput: one is too large.
    """
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    if np.isinf(narrow).any() and not np.isinf(array).any():
        raise InvalidInput(f"{name}: expected numbers within float32's range (3.4e38), found a larger one")
    return narrow


def form(row: Any) -> Hashable:
    """Rows of one form can be stacked: kind, shape and datatype."""
    if isinstance(row, dict):
        return tuple((key, form(value)) for key, value in row.items())
    shape, dtype = getattr(row, "shape", None), getattr(row, "dtype", None)
    return type(row).__name__ if shape is None else (type(row).__name__, tuple(shape), str(dtype))


def collated(batch: list[Any]) -> Any:
    """Rows of one form with a first dimension in front: arrays, tensors, or dictionaries of them; a list of anything else."""
    first = batch[0]
    if isinstance(first, dict):
        return {key: collated([row[key] for row in batch]) for key in first}
    if hasattr(first, "new_empty") and hasattr(first, "detach"):
        import torch

        return torch.stack(batch)
    if isinstance(first, (np.ndarray, np.generic, int, float)):
        return np.stack(batch)
    return batch


def apart(result: Any, count: int) -> list[Any]:
    """The results, one for each of `count` rows: of an array, tensor or list its items, of a dictionary dictionaries.

    Raises:
        ModelFault: there are not as many.
    """
    if isinstance(result, dict):
        columns = {name: _items(value, count, f"predict: {name}") for name, value in result.items()}
        return [{name: column[index] for name, column in columns.items()} for index in range(count)]
    return list(_items(result, count, "predict"))


def _items(value: Any, count: int, name: str) -> Sequence[Any]:
    size = len(value) if hasattr(value, "__len__") and (getattr(value, "shape", (1,)) != ()) else None
    if size != count or isinstance(value, (str, bytes)):
        found = type(value).__name__ if size is None else f"{size} in a {type(value).__name__}"
        raise ModelFault(
            f"{name}: expected {count} rows for {count}, found {found}: return an array or a list with one item for each "
            "row, or a dictionary of them"
        )
    return value if isinstance(value, list) else [value[index] for index in range(count)]


def plain(value: Any) -> Any:
    """An answer without arrays and tensors, so that JSON can carry it: lists and numbers for those, base64 for bytes as V1
    has it."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "tolist"):
        return plain(value.tolist()) if getattr(value, "dtype", None) == np.object_ else value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value
