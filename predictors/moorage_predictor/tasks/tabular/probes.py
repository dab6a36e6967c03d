"""Whether a model gives what it is taken to give, tried on a few rows when it is loaded. Called by `load.py`."""

import contextlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular.estimators import Estimator, Scores
from moorage_predictor.tasks.tabular.table import Table

_ROWS: Final = 8
_SHIFTS: Final = (-1000.0, -10.0, -1.0, 1.0, 10.0, 1000.0)
"""Logits of so different rows do not all happen to be probabilities."""
_ROUNDING: Final = 1e-3


def check_output(file: Path, estimator: Estimator, background: Table) -> None:
    """Hold probabilities, and logits that nobody has called so, against what such numbers are.

    Raises:
        LoadFailed: they are something else.
    """
    usual = background.rows(slice(0, _ROWS))
    scores = estimator.scores(usual)
    if scores.assumed_logits is not None:
        tried = [one.assumed_logits for one in (scores, *_shifted(estimator, usual))]
        if all(_are_probabilities(one) for one in tried if one is not None):
            raise LoadFailed(
                file,
                "what it gives looks like probabilities, not like logits: say which in schema.json "
                '("output": "probabilities", or "logits") or with --model-output',
            )
    elif scores.probabilities is not None and not _are_probabilities(scores.probabilities):
        raise LoadFailed(
            file,
            f"it gives {np.round(scores.probabilities[0, :4], 4).tolist()} where probabilities were expected, which add up to 1: "
            'if these are logits, say so in schema.json ("output": "logits") or with --model-output',
        )


def _are_probabilities(found: NDArray[Any]) -> bool:
    """Rows [n, classes], or of the second of two classes [n, 1]."""
    inside = bool(((found >= -_ROUNDING) & (found <= 1 + _ROUNDING)).all())
    return inside and (found.shape[1] == 1 or bool((np.abs(found.sum(axis=1) - 1) <= _ROUNDING).all()))


def _shifted(estimator: Estimator, usual: Table) -> list[Scores]:
    schema = usual.schema
    columns = [number for number, one in enumerate(schema.features) if one.type == "number" and one.enum is None]
    tables = []
    for shift in _SHIFTS if columns else ():
        values = usual.values.copy()
        values[:, columns] = values[:, columns] + shift
        tables.append(Table(schema, values))
    # A model may refuse rows so unusual, with any error.
    with contextlib.suppress(Exception):
        return [estimator.scores(table) for table in tables]
    return []
