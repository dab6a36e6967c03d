"""Requests of several callers as one, and its answer taken apart again: for models whose every row stands for itself.
Called by `pipeline.py`, for models of the user's with `--max-batch-size` above 1.
"""

from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np

from moorage_predictor.errors import MoorageError
from moorage_predictor.wire.datatypes import DATATYPES
from moorage_predictor.wire.messages import InferOutput, InferResponse, Types

_OF_THE_WIRE: Final = frozenset({"binary_data", "binary_data_output", "binary_data_size", "priority", "timeout"})
"""Parameters that say how to carry a request and not what it asks."""


class NotByRowsError(MoorageError):
    """The model's answer has not one row for each row that it was given."""


def company(payload: Any) -> tuple[Hashable, int] | None:
    """What a payload may share a batch with (equal keys), and its rows; None if it must run by itself.

    A V1 body may if it has `instances` and nothing else; a V2 request if all its inputs have the same first dimension.
    """
    if isinstance(payload, dict):
        instances = payload.get("instances")
        return ("v1", len(instances)) if instances and len(payload) == 1 else None
    rows = 0
    key: list[Hashable] = []
    for tensor in payload.inputs:
        shape = tensor.shape
        if not shape or not shape[0] or (rows and shape[0] != rows):
            return None
        rows = shape[0]
        key.append((tensor.name, tensor.datatype, *shape[1:], _asked(tensor.parameters)))
    if not rows:
        return None
    return (tuple(key), _asked(payload.parameters)), rows


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
    if not isinstance(result, InferResponse):
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
