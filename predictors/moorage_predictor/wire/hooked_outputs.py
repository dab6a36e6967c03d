"""The answers of a class with hooks, one for each row -> V2's outputs. Called by `hooked.py`.

Answers that are dictionaries give an output for each key; others give one, with the name of the first of the class's
`outputs` or `output`. The datatype is that of `outputs`, if it is stated there, else what the values are. A BYTES output
carries text and bytes as they are, and anything else as JSON, so that rows may be of different sizes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import ModelFault
from moorage_predictor.tasks.custom.rows import plain
from moorage_predictor.wire.datatypes import BY_DTYPE, BYTES, DATATYPES, Datatype
from moorage_predictor.wire.json_answers import dumps
from moorage_predictor.wire.messages import InferOutput


def outputs_of(answers: list[Any], declared: list[dict[str, Any]]) -> list[InferOutput]:
    """The outputs, each with one row for each answer.

    Raises:
        ModelFault: rows that no tensor can hold.
    """
    stated = {output["name"]: DATATYPES.get(output.get("datatype", "")) for output in declared}
    if isinstance(answers[0], dict):
        names = list(answers[0])
        for answer in answers:
            if not isinstance(answer, dict) or list(answer) != names:
                raise ModelFault(f"the answers: expected the same keys for every row, {', '.join(map(str, names))}")
        if not names:
            raise ModelFault("the answers: expected dictionaries with at least one key")
        return [_output(str(name), [answer[name] for answer in answers], stated.get(str(name))) for name in names]
    name = next(iter(stated), "output")
    return [_output(name, answers, stated.get(name))]


def _output(name: str, values: list[Any], datatype: Datatype | None) -> InferOutput:
    array = _array(name, values, datatype)
    found = datatype or BY_DTYPE.get(array.dtype)
    if found is None:
        raise ModelFault(f"output {name}: expected numbers, booleans, text or bytes, found {array.dtype}")
    return InferOutput(name, list(array.shape), found.name, array)


def _array(name: str, values: list[Any], datatype: Datatype | None) -> NDArray[Any]:
    if datatype is BYTES or (datatype is None and isinstance(values[0], (str, bytes, dict))):
        texts = np.empty(len(values), dtype=np.object_)
        texts[:] = [value if isinstance(value, (str, bytes)) else dumps(plain(value)) for value in values]
        return texts
    try:
        array = np.asarray([value.detach().cpu().numpy() if hasattr(value, "detach") else value for value in values])
    except ValueError as error:
        raise ModelFault(
            f"output {name}: the rows are of different shapes: make them equal, or state {name} as BYTES in `outputs`, to "
            "send each as JSON"
        ) from error
    if array.dtype.kind in "SU":  # rows of texts
        return array.astype(np.object_)
    if datatype is None:
        return array
    try:
        return array.astype(datatype.dtype, casting="same_kind")
    except TypeError as error:
        raise ModelFault(f"output {name}: expected {datatype.name} as in `outputs`, found {array.dtype}") from error
