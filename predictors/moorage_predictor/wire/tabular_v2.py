"""V2 requests and answers <-> tables, REST and gRPC alike. Called by `wire/tabular.py`.

Inputs: a tensor [n] or [n, 1] for each column, by name and in any order; or one tensor [n, k] of numbers, in the schema's order.

| output             | datatype      | shape  | of                | given                              |
|--------------------|---------------|--------|-------------------|------------------------------------|
| `prediction`       | INT64 or FP64 | [n]    | all               | always: the class, or the number   |
| `label`            | BYTES         | [n]    | a classification  | always                             |
| `probabilities`    | FP64          | [n, c] | a classification  | always, if the model gives any     |
| `confidence`       | FP64          | [n]    | a classification  | the same                           |
| `confidence_level` | BYTES         | [n]    | a classification  | the same                           |
| `shap_values`      | FP64          | [n, k] | an explanation    | with parameter explain, or by name |
| `base_value`       | FP64          | [n]    | an explanation    | the same                           |
| `explained_output` | FP64          | [n]    | an explanation    | the same                           |
| `top_features`     | BYTES         | [n, t] | an explanation    | the same                           |
| `top_importances`  | FP64          | [n, t] | an explanation    | the same                           |
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.tabular import Explained, Prediction, Schema, TabularModel
from moorage_predictor.tasks.tabular.table import Table, of_array, of_columns
from moorage_predictor.wire.messages import InferOutput, InferRequest, InferResponse
from moorage_predictor.wire.tabular_v1 import best_of, checked_top
from moorage_predictor.wire.tensor import short

ROWS: Final = "rows"
"""The one input of a model whose features have no names."""
_DATATYPES: Final = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}
_OF_PREDICTION: Final = ("prediction", "label", "probabilities", "confidence", "confidence_level")
_OF_EXPLANATION: Final = ("shap_values", "base_value", "explained_output", "top_features", "top_importances")
_TEXT: Final = frozenset({"label", "confidence_level", "top_features"})


@dataclass(frozen=True)
class Asked:
    """What one request wants."""

    outputs: tuple[str, ...]
    explained: bool
    top: int


def asked(request: InferRequest, model: TabularModel, top: int) -> Asked:
    """Before anything is computed.

    Raises:
        InvalidInput: an output that there is not, or a parameter that is not what it should be.
    """
    parameters = request.parameters or {}
    explain = parameters.get("explain", False)
    if type(explain) is not bool:
        raise InvalidInput(f"parameters.explain: expected true or false, found {short(explain)}")
    if "top" in parameters:
        top = checked_top(parameters["top"])
    known = (*_given(model), *_OF_EXPLANATION)
    if not request.request_outputs:
        return Asked(known if explain else _given(model), explain, top)
    names = tuple(output.name for output in request.request_outputs)
    for name in names:
        if name not in known:
            raise InvalidInput(f"outputs: expected some of {', '.join(known)}, found {name[:40]!r}")
    return Asked(names, any(name in _OF_EXPLANATION for name in names), top)


def _given(model: TabularModel) -> tuple[str, ...]:
    if model.classes is None:
        return _OF_PREDICTION[:1]
    return _OF_PREDICTION if model.gives_probabilities else _OF_PREDICTION[:2]


def size_of(request: InferRequest, schema: Schema) -> int:
    """How many values the table of a request will have, also those that the request leaves out."""
    return max((tensor.shape[0] for tensor in request.inputs if tensor.shape), default=0) * len(schema)


def table_of(request: InferRequest, schema: Schema, most: int) -> Table:
    """The table of a request's inputs.

    Raises:
        InvalidInput: more than `most` rows, or a column or value that the schema does not allow.
    """
    inputs = request.inputs
    rows = max((tensor.shape[0] for tensor in inputs if tensor.shape), default=0)
    if not 0 < rows <= most:
        raise InvalidInput(f"inputs: expected 1 to {most} rows, found {rows}")
    if len(inputs) == 1 and inputs[0].name not in schema.index:
        array = inputs[0].as_numpy()
        try:
            return of_array(schema, array)
        except InvalidInput as error:
            raise InvalidInput(f"{inputs[0].name}: {error}") from error
    return of_columns(schema, {tensor.name: tensor.as_numpy() for tensor in inputs})


def response(request: InferRequest, asked: Asked, table: Table, found: Prediction | Explained) -> InferResponse:
    """The answer, with the outputs that were asked for."""
    prediction = found.prediction if isinstance(found, Explained) else found
    arrays: dict[str, Any] = {
        "prediction": prediction.chosen if prediction.values is None else prediction.values,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "confidence": prediction.confidence,
        "confidence_level": prediction.level,
    }
    if isinstance(found, Explained):
        parts = found.contributions
        best = best_of(parts.values, asked.top)
        names = np.array(table.schema.names, dtype=np.object_)
        arrays |= {
            "shap_values": parts.values,
            "base_value": parts.base,
            "explained_output": parts.output,
            "top_features": names[best],
            "top_importances": np.take_along_axis(parts.values, best, axis=1),
        }
    outputs = [_output(name, arrays[name]) for name in asked.outputs]
    parameters = None
    if isinstance(found, Explained):
        parameters = {"space": found.contributions.space, "method": found.contributions.method}
    return InferResponse(request.id, request.model_name, outputs, parameters)


def _output(name: str, array: NDArray[Any]) -> InferOutput:
    datatype = "BYTES" if name in _TEXT else "INT64" if array.dtype.kind == "i" else "FP64"
    return InferOutput(name, list(array.shape), datatype, np.ascontiguousarray(array))


def input_types(schema: Schema) -> list[dict[str, Any]]:
    """A tensor for each column; without names one for all."""
    if not schema.named:
        return [{"name": ROWS, "datatype": "FP64", "shape": [-1, len(schema)]}]
    return [{"name": one.name, "datatype": _DATATYPES[one.type], "shape": [-1]} for one in schema.features]


def output_types(model: TabularModel) -> list[dict[str, Any]]:
    """Every output; -1 is any number of rows, or of features in an explanation's list."""
    widths = {
        "probabilities": len(model.classes or ()),
        "shap_values": len(model.schema),
        "top_features": -1,
        "top_importances": -1,
    }
    return [
        {
            "name": name,
            "datatype": "BYTES" if name in _TEXT else "INT64" if name == "prediction" and model.classes else "FP64",
            "shape": [-1, widths[name]] if name in widths else [-1],
        }
        for name in (*_given(model), *_OF_EXPLANATION)
    ]
