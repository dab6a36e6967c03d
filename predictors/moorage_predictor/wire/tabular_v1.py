"""The V1 protocol's dictionaries <-> tables. Called by `wire/tabular.py`.

{"instances": [[5.1, 3.5], ...]}  or  {"instances": [{"length": 5.1, "width": 3.5}, ...]}  or  {"inputs": {"length": [5.1], ...}}
-> {"predictions": [{"prediction", "label", "probability", "probabilities", "confidence", "confidence_level"}, ...]}
-> {"explanations": [{"prediction", ..., "explanation": {"top_features", "shap_values", "base_value", "output", ...}}, ...]}
"""

import math
from typing import Any

import numpy as np

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.tabular import Explained, Prediction, Schema, TabularModel
from moorage_predictor.tasks.tabular.table import Table, of_columns, of_rows
from moorage_predictor.wire.tensor import kind, short


def size_of(body: dict[str, Any], schema: Schema) -> int:
    """How many values the table of a request will have, also those that the request leaves out."""
    given = body.get("instances", body.get("inputs"))
    if isinstance(given, dict):
        rows = max((len(column) for column in given.values() if isinstance(column, list)), default=0)
    else:
        rows = len(given) if isinstance(given, list) else 0
    return rows * len(schema)


def table_of(body: dict[str, Any], schema: Schema, most: int) -> Table:
    """The table of a V1 request.

    Raises:
        InvalidInput: it has none, more than `most` rows, or a value that the schema does not allow.
    """
    given, name = (body["instances"], "instances") if "instances" in body else (body.get("inputs"), "inputs")
    if isinstance(given, dict) and name == "inputs":
        if all(isinstance(column, list) for column in given.values()):  # else its own error says which is not
            _check(name, max(map(len, given.values()), default=0), most)
        return of_columns(schema, given)
    if not isinstance(given, list):
        raise InvalidInput(f"{name}: expected rows, or in inputs an object of columns, found {kind(given)}")
    _check(name, len(given), most)
    return of_rows(schema, given)


def _check(name: str, rows: int, most: int) -> None:
    if not 0 < rows <= most:
        raise InvalidInput(f"{name}: expected 1 to {most} rows, found {rows}")


def top_of(body: Any, default: int) -> int:
    """How many features an explanation lists: `parameters.top`.

    Raises:
        InvalidInput: it is no such number.
    """
    given = body.get("parameters") if isinstance(body, dict) else None
    if given is not None and not isinstance(given, dict):
        raise InvalidInput(f"parameters: expected an object, found {kind(given)}")
    return checked_top((given or {}).get("top", default))


def checked_top(top: Any) -> int:
    """The same, of any protocol's parameter.

    Raises:
        InvalidInput: it is no such number.
    """
    if type(top) is not int or top < 1:
        raise InvalidInput(f"parameters.top: expected an integer from 1 on, found {short(top)}")
    return top


def predictions(found: Prediction, model: TabularModel) -> dict[str, Any]:
    """The answer to `:predict`, an object for each row."""
    return {"predictions": _objects(found, model)}


def _objects(found: Prediction, model: TabularModel) -> list[dict[str, Any]]:
    if found.values is not None:
        return [{"prediction": value} for value in found.values.tolist()]
    if found.chosen is None or found.label is None:
        return []
    rows: list[dict[str, Any]] = [
        {"prediction": number, "label": label}
        for number, label in zip(found.chosen.tolist(), found.label.tolist(), strict=True)
    ]
    if found.probabilities is None or found.confidence is None or found.level is None:
        return rows
    two = found.probabilities.shape[1] == 2
    speaks_of = found.probabilities[:, 1] if two else found.confidence
    told = zip(
        rows,
        speaks_of.tolist(),
        found.probabilities.tolist(),
        found.confidence.tolist(),
        found.level.tolist(),
        strict=True,
    )
    for row, probability, probabilities, confidence, level in told:
        row["probability"] = probability
        row["probabilities"] = probabilities
        row["confidence"] = confidence
        row["confidence_level"] = level
    return rows


def explanations(found: Explained, table: Table, model: TabularModel, top: int) -> dict[str, Any]:
    """The answer to `:explain`, an object for each row."""
    parts = found.contributions
    rows = _objects(found.prediction, model)
    best = best_of(parts.values, top)
    names = model.schema.names
    for number, row in enumerate(rows):
        explanation: dict[str, Any] = {
            "top_features": [
                {
                    "feature": names[column],
                    "importance": float(parts.values[number, column]),
                    "value": plain(table.values[number, column]),
                }
                for column in best[number].tolist()
            ],
            "shap_values": parts.values[number].tolist(),
            "base_value": float(parts.base[number]),
            "output": float(parts.output[number]),
            "space": parts.space,
            "method": parts.method,
        }
        if found.explained is not None and model.classes is not None:
            explanation["class"] = model.classes[found.explained[number]]
        row["explanation"] = explanation
    return {"explanations": rows}


def row_of(table: Table) -> dict[str, Any]:
    """The first row as an instance."""
    return {name: plain(value) for name, value in zip(table.schema.names, table.values[0], strict=True)}


def best_of(values: Any, top: int) -> Any:
    """Columns of the largest values, whatever their sign, [n, top]; equal ones in the schema's order."""
    return np.argsort(-np.abs(values), axis=1, kind="stable")[:, :top]


def plain(value: Any) -> Any:
    """A value of a table as JSON has it: nothing for what is missing."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value
