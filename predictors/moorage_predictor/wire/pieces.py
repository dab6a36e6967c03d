"""Large arrays -> JSON, a piece at a time. Called by `encode.py`, `json_answers.py` and `grpc_messages.py`.

orjson holds the interpreter's lock until a call of it returns, also in a thread: an array of a million numbers in one call
would keep the event loop waiting all that time. Between pieces the loop has its turn.
"""

import io
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

PIECE: Final = 1 << 15
"""Values that are written at a time: a few milliseconds."""
BULKY: Final = 1 << 16
"""Of answers of more values, which are about 1 MB of JSON, the loop has others write the text."""


class InPieces:
    """Stands for a large array in what `json_answers.dumps` is given."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array


def json_of(array: NDArray[Any]) -> orjson.Fragment:
    """Lists in lists, as orjson writes the array, for a place in what orjson is given."""
    text = io.BytesIO()  # gives what was written without copying it
    _write(np.ascontiguousarray(array), text)
    return orjson.Fragment(text.getvalue())


def _write(array: NDArray[Any], text: io.BytesIO) -> None:
    if array.size <= PIECE:
        text.write(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))
        return
    rows = PIECE * len(array) // array.size
    for start in range(0, len(array), rows or 1):
        text.write(b"," if start else b"[")
        if rows:
            text.write(orjson.dumps(array[start : start + rows], option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
        else:
            _write(array[start], text)
    text.write(b"]")
