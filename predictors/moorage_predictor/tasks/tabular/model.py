"""The task itself: a table -> a class with its probability, or a number, for each row; and why. Made by `load.py`, called by
`wire/tabular.py` in threads.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import ModelFault
from moorage_predictor.tasks.tabular.estimators import Contributions, Estimator
from moorage_predictor.tasks.tabular.schema import Schema
from moorage_predictor.tasks.tabular.table import Table

LOW, MEDIUM, HIGH = "low", "medium", "high"
_TWO: Final = 2


@dataclass(frozen=True)
class Levels:
    """From which probability of the predicted class on an answer counts as one of medium, of high confidence."""

    medium: float = 0.6
    high: float = 0.75


@dataclass(frozen=True)
class Prediction:
    """Of n rows. A classification has `chosen` and, if the model gives any, probabilities; a regression has `values`."""

    chosen: NDArray[np.int64] | None = None
    """[n], numbers of classes."""
    label: NDArray[np.object_] | None = None
    """[n], their names."""
    probabilities: NDArray[np.float64] | None = None
    """[n, classes]"""
    confidence: NDArray[np.float64] | None = None
    """[n], the probability of the class that was chosen."""
    level: NDArray[np.object_] | None = None
    """[n], low, medium or high."""
    values: NDArray[np.float64] | None = None
    """[n]"""

    def parted(self, counts: Sequence[int]) -> list["Prediction"]:
        """As many rows for each as it brought."""
        if len(counts) == 1:
            return [self]
        parts, start = [], 0
        for count in counts:
            parts.append(self._rows(slice(start, start + count)))
            start += count
        return parts

    def _rows(self, part: slice) -> "Prediction":
        return Prediction(*(None if (of := getattr(self, name)) is None else of[part] for name in _FIELDS))


_FIELDS: Final = tuple(one.name for one in fields(Prediction))


@dataclass(frozen=True)
class Explained:
    """A prediction, and for each row what each feature added to it."""

    prediction: Prediction
    contributions: Contributions
    explained: NDArray[np.int64] | None
    """[n], the class that is spoken of: of two classes the second, of more the predicted one."""

    @classmethod
    def joined(cls, parts: Sequence["Explained"]) -> "Explained":
        """The rows of all, in order."""
        first = parts[0]
        if len(parts) == 1:
            return first
        prediction = Prediction(*(_joined([getattr(part.prediction, name) for part in parts]) for name in _FIELDS))
        sums = ("values", "base", "output")
        joined = {name: _joined([getattr(part.contributions, name) for part in parts]) for name in sums}
        contributions = replace(first.contributions, **joined)
        return cls(prediction, contributions, _joined([part.explained for part in parts]))


def _joined(arrays: Sequence[Any]) -> Any:
    return None if arrays[0] is None else np.concatenate(arrays)


class TabularModel:
    """One loaded model. Predictions from one thread at a time, explanations from another."""

    def __init__(
        self,
        estimator: Estimator,
        schema: Schema,
        background: Table,
        levels: Levels | None = None,
        *,
        format: str = "",
        seed: int = 0,
    ) -> None:
        """`background`: rows that stand for what is usual; linear and sampled explanations start from them."""
        self.schema = schema
        self.classes = schema.classes
        self.background = background
        self.format = format
        self.kind = estimator.facts.kind
        self.gives_probabilities = estimator.facts.probabilities
        self._estimator = estimator
        self._levels = levels or Levels()
        self._names = None if self.classes is None else np.array(self.classes, dtype=np.object_)
        self._seed = seed

    def predict(self, table: Table) -> Prediction:
        """Of each row.

        Raises:
            ModelFault: the model gave NaN, or another number of rows or classes than it should.
        """
        scores = self._estimator.scores(table)
        for given, shape in (
            (scores.probabilities, (len(table), len(self.classes or ()))),
            (scores.values, (len(table),)),
        ):
            if given is not None and (given.shape != shape or not bool(np.isfinite(given).all())):
                raise ModelFault(f"the model gave {list(given.shape)} numbers, not all finite or not {list(shape)}")
        if self._names is None:
            return Prediction(values=scores.values)
        probabilities, chosen = scores.probabilities, scores.chosen
        if chosen is None:
            if probabilities is None:
                raise ModelFault("the model gave no class")
            chosen = probabilities.argmax(axis=1)
        label = self._names[chosen]
        if probabilities is None:
            return Prediction(chosen, label)
        confidence = probabilities[np.arange(len(chosen)), chosen]
        return Prediction(chosen, label, probabilities, confidence, self._level(confidence))

    def _level(self, confidence: NDArray[np.float64]) -> NDArray[np.object_]:
        level = np.full(len(confidence), LOW, dtype=np.object_)
        level[confidence >= self._levels.medium] = MEDIUM
        level[confidence >= self._levels.high] = HIGH
        return level

    def explain(self, table: Table) -> Explained:
        """Of each row, with its prediction. The first imports what explains, which takes seconds.

        Raises:
            ModelFault: as `predict`.
        """
        prediction = self.predict(table)
        explained = prediction.chosen
        if explained is not None and len(self.classes or ()) == _TWO:
            explained = np.ones_like(explained)
        found = self._estimator.exact(table, explained, self.background)
        if found is None or not found.adds_up:
            from moorage_predictor.tasks.tabular.explain import sampled

            found = sampled.contributions(self.predict, table, explained, self.background, self._seed)
        return Explained(prediction, found, explained)

    def usual(self) -> Table:
        """One row of the background, for warming up. It may be of somebody's data: not to be shown."""
        return self.background.rows(slice(0, 1))

    def describe(self) -> dict[str, Any]:
        """For the model's configuration."""
        told = {"format": self.format, "model": self.kind, "features": len(self.schema)}
        stated = {
            one.name: one.model_dump(mode="json", exclude_none=True, exclude={"name"}) for one in self.schema.features
        }
        classes = {"classes": json.dumps(self.classes)} if self.classes else {}
        return {**told, **classes, "feature_schema": json.dumps(stated)}
