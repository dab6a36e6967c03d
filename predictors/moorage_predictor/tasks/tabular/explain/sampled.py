"""Sampled Shapley values of any model, by shap's PermutationExplainer: each permutation is walked there and back, so the values
add up to the output whatever was drawn. Called by `model.py` where there is no exact way.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.tasks.tabular.estimators import Contributions
from moorage_predictor.tasks.tabular.table import Table

PERMUTATIONS: Final = 10
BACKGROUND: Final = 50
"""Most rows of it that are used."""
_PREDICTIONS: Final = 100_000
"""For one row; of a wide table fewer rows of the background are used."""


def contributions(
    predict: Callable[[Table], Any], table: Table, chosen: NDArray[np.int64] | None, background: Table, seed: int
) -> Contributions:
    """To the probability of the chosen class, or to the number."""
    from shap.explainers import Permutation

    evaluations = PERMUTATIONS * (2 * len(table.schema) + 1)
    usual = background.values[: max(1, min(BACKGROUND, _PREDICTIONS // evaluations))]
    code = _Codes(np.concatenate([usual, table.values]))
    start = code.of(usual)
    count = start.shape[1]
    values, base = np.empty((len(table), count)), np.empty(len(table))
    for number, row in enumerate(code.of(table.values)):
        picked = None if chosen is None else int(chosen[number])

        def output(codes: NDArray[np.float64], picked: int | None = picked) -> NDArray[np.float64]:
            return _numbers(predict(Table(table.schema, code.back(codes))), picked)

        def mask(kept: NDArray[np.bool_], given: NDArray[np.float64]) -> tuple[NDArray[np.float64]]:
            return (np.where(kept, given, start),)

        explainer = Permutation(output, mask, seed=seed)
        found = explainer(row[None], max_evals=evaluations, silent=True)
        values[number], base[number] = found.values[0], np.reshape(found.base_values, -1)[0]
    result = predict(table)
    output_now = np.array(
        [
            _numbers(part, None if chosen is None else int(chosen[number]))[0]
            for number, part in enumerate(result.parted([1] * len(table)))
        ]
    )
    space = "value" if chosen is None else "probability"
    return Contributions(values, base, output_now, space, f"permutations, seed {seed}")  # type: ignore[arg-type]


def _numbers(prediction: Any, picked: int | None) -> NDArray[np.float64]:
    """What is explained: a number, the class's probability, or 1 where that class is chosen."""
    found: NDArray[np.float64]
    if picked is None:
        found = prediction.values
    elif prediction.probabilities is None:
        found = (prediction.chosen == picked).astype(np.float64)
    else:
        found = prediction.probabilities[:, picked]
    return found


class _Codes:
    """Numbers for the strings of a table: shap's arrays hold nothing else."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._words: list[list[Any] | None] = [None] * values.shape[1]
        if values.dtype == np.object_:
            for number in range(values.shape[1]):
                if any(isinstance(value, str) or value is None for value in values[:, number]):
                    self._words[number] = sorted(set(values[:, number].tolist()), key=str)
        self._strings = values.dtype == np.object_

    def of(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """float64 [n, k]"""
        if not self._strings:
            return values.astype(np.float64)
        coded = np.empty(values.shape)
        for number, words in enumerate(self._words):
            column = values[:, number].tolist()
            coded[:, number] = column if words is None else [words.index(value) for value in column]
        return coded

    def back(self, codes: NDArray[np.float64]) -> NDArray[Any]:
        """The inverse of `of`."""
        if not self._strings:
            return codes
        values = np.empty(codes.shape, dtype=np.object_)
        for number, words in enumerate(self._words):
            column = codes[:, number]
            values[:, number] = column if words is None else [words[int(value)] for value in column]
        return values
