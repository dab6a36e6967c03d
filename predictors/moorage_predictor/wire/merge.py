"""Requests of several callers as one, and its answer taken apart again: for models whose every row stands for itself.
Called by `pipeline.py`, for models of the user's with `--max-batch-size` above 1.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np

from moorage_predictor.errors import MoorageError
from moorage_predictor.wire.datatypes import DATATYPES
from moorage_predictor.wire.messages import InferOutput, InferResponse, Types

_OF_THE_WIRE: Final = frozenset({"binary_data", "binary_data_output", "binary_data_size", "priority", "timeout"})
"""Parameters that say how to carry a request and not what it asks."""


_INT64: Final = 2**63
_MOST_VALUES: Final = 4096
"""Of V1 instances that are looked at one by one; larger bodies gain little by company."""


class NotByRowsError(MoorageError):
    """The model's answer has not one row for each row that it was given."""


def company(payload: Any) -> tuple[Hashable, int] | None:
    """What a payload may share a batch with (equal keys), and its rows; None if it must run by itself.

    A V1 body may if it has `instances` and nothing else, and they are rows of one form; a V2 request if all its inputs have
    the same first dimension.
    """
    if isinstance(payload, dict):
        instances = payload.get("instances")
        if not instances or len(payload) != 1 or (form := _form_of(instances)) is None:
            return None
        return ("v1", form), len(instances)
    rows = 0
    key: list[Hashable] = []
    for tensor in payload.inputs:
        shape = tensor.shape
        if not shape or not shape[0] or (rows and shape[0] != rows):
            return None
        rows = shape[0]
        kind = type(tensor.as_numpy().flat[0]) if tensor.datatype == "BYTES" and math.prod(shape) else None
        key.append((tensor.name, tensor.datatype, kind, *shape[1:], _asked(tensor.parameters)))
    if not rows:
        return None
    return (tuple(key), _asked(payload.parameters)), rows


def _form_of(instances: list[Any]) -> Hashable:
    """Shape of each row and kind of all values, so that what becomes of a row does not depend on its company; None if that
    is not one and the same, or long to find out."""
    values: list[Any] = instances
    shape: list[int] = []
    while type(values[0]) is list:
        shape.append(len(values[0]))
        if not shape[-1] or any(type(value) is not list or len(value) != shape[-1] for value in values):
            return None
        if len(values) * shape[-1] > _MOST_VALUES:
            return None
        values = [item for value in values for item in value]
    kinds = set(map(type, values))
    if kinds == {int, float}:
        kinds = {float}
    elif kinds == {int} and not -_INT64 <= min(values) <= max(values) < _INT64:
        return None
    return (tuple(shape), kinds.pop()) if len(kinds) == 1 and not kinds & {dict, list} else None


def _asked(parameters: dict[str, Any] | None) -> Hashable:
    """1 and True are equal, so the types are told as well."""
    if not parameters:
        return ()
    return tuple(
        sorted((name, type(value).__name__, value) for name, value in parameters.items() if name not in _OF_THE_WIRE)
    )


def merged(payloads: Sequence[Any], types: Types) -> Any:
    """One payload with the rows of all, in order. The outputs that each asks for are chosen afterwards."""
    first = payloads[0]
    if isinstance(first, dict):
        return {"instances": [row for payload in payloads for row in payload["instances"]]}
    tensors = []
    for index, tensor in enumerate(first.inputs):
        array = np.concatenate([payload.inputs[index].as_numpy() for payload in payloads])
        asked = {name: value for name, value in (tensor.parameters or {}).items() if name not in _OF_THE_WIRE}
        tensors.append(
            types.tensor(tensor.name, list(array.shape), DATATYPES[tensor.datatype], array, parameters=asked or None)
        )
    parameters = {name: value for name, value in (first.parameters or {}).items() if name not in _OF_THE_WIRE}
    return types.request(first.model_name, tensors, parameters=parameters or None, model_version=first.model_version)


def parted(result: Any, payloads: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    """The answer to each payload.

    Raises:
        NotByRowsError: the rows cannot be told apart.
    """
    if isinstance(result, dict) and isinstance(payloads[0], dict):
        return _parted_v1(result, rows)
    if not isinstance(result, InferResponse) or isinstance(payloads[0], dict):
        raise NotByRowsError(f"the model answered several requests at once with {type(result).__name__}")
    ends = np.cumsum(rows).tolist()
    outputs = []
    for output in result.outputs:
        array = np.asarray(output.as_numpy())
        if not array.shape or len(array) != ends[-1]:
            raise NotByRowsError(
                f"output {output.name}: expected {ends[-1]} rows for {ends[-1]}, found {list(array.shape)}"
            )
        outputs.append((output, array))
    parts = []
    for payload, end, count in zip(payloads, ends, rows, strict=True):
        own = [
            InferOutput(
                output.name, [count, *array.shape[1:]], output.datatype, array[end - count : end], output.parameters
            )
            for output, array in outputs
        ]
        parts.append(InferResponse(payload.id, result.model_name, own, result.parameters))
    return parts


def _parted_v1(result: dict[str, Any], rows: Sequence[int]) -> list[dict[str, Any]]:
    predictions: Any = result.get("predictions")
    if len(result) != 1 or not hasattr(predictions, "__len__") or len(predictions) != sum(rows):
        raise NotByRowsError(f"expected predictions alone, with {sum(rows)} rows")
    parts, start = [], 0
    for count in rows:
        parts.append({"predictions": predictions[start : start + count]})
        start += count
    return parts
