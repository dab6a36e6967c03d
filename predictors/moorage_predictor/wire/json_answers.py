"""A model's V1 answer -> JSON bytes, or why not. Called by `wire/http/inference.py`."""

import math
from typing import Any, Final

import numpy as np
import orjson

from moorage_predictor.errors import ModelFault
from moorage_predictor.wire.messages import InferResponse
from moorage_predictor.wire.pieces import InPieces, json_of

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def v1_body(result: Any) -> bytes:
    """The body: JSON, or the text that the model made itself.

    Raises:
        ModelFault: it is no JSON.
    """
    if isinstance(result, (bytes, str)):
        return result if isinstance(result, bytes) else result.encode()
    return dumps(_document(result))


def json_ready(result: Any) -> orjson.Fragment:
    """The same as JSON that is a part of another's: orjson takes it over as it is.

    Raises:
        ModelFault: it is no JSON.
    """
    return orjson.Fragment(dumps(_document(result)))


def dumps(content: Any) -> bytes:
    """JSON; numpy's arrays and numbers are understood.

    Raises:
        ModelFault: something in it has no JSON, NaN and infinity included.
    """
    try:
        text = orjson.dumps(content, _written, _OPTIONS)
    except TypeError as error:
        raise ModelFault("the model's answer holds something that JSON cannot carry") from error
    if b"null" in text and _has_nan(content):
        raise ModelFault("the model's answer holds NaN or infinity, which JSON cannot carry")
    return text


def _written(value: object) -> orjson.Fragment:
    """What orjson itself does not know."""
    if isinstance(value, InPieces):
        return json_of(value.array)
    raise TypeError


def _document(result: Any) -> Any:
    """A model may answer V1 with V2's response: its one output's rows, or rows of objects by output, are predictions."""
    if not isinstance(result, InferResponse):
        return result
    columns = {output.name: output.as_numpy().tolist() for output in result.outputs}
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    try:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    except (TypeError, ValueError) as error:
        raise ModelFault("the model's outputs have different numbers of rows, which V1 cannot say") from error
    return {"predictions": rows}


def _has_nan(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, InPieces):
        value = value.array
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and not bool(np.isfinite(value).all())
    if isinstance(value, np.floating):
        return not bool(np.isfinite(value))
    if isinstance(value, dict):
        return any(map(_has_nan, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_nan, value))
