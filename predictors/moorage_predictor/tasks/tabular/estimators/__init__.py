"""A model file -> something that scores a table; one module for each kind of file, which imports that kind's library.

`load.py` -> KINDS[format](file, options) -> Estimator -> `model.py`
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.tasks.tabular.formats import Format
from moorage_predictor.tasks.tabular.schema import Schema
from moorage_predictor.tasks.tabular.table import Table

_ROUNDING: Final = 1e-3

Space = Literal["margin", "probability", "value"]
"""Of what an explanation's values are parts: log-odds and what else is summed before it becomes a probability; a probability;
a predicted number."""


@dataclass(frozen=True)
class Facts:
    """What a model file says of itself."""

    kind: str
    """For people: the class or the objective."""
    count: int | None = None
    """Features it takes; None: it does not say."""
    names: tuple[str, ...] | None = None
    """Their names, in order."""
    enums: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    """The values of its categorical features, by column."""
    classes: tuple[str, ...] | None = None
    """Names of its classes, or their values as text; None: it gives numbers."""
    numbered: bool = False
    """Whether the classes are but counted, because the file has no names of its own for them."""
    probabilities: bool = True
    """Of a classification: whether it gives any, and not classes alone."""


@dataclass(frozen=True)
class Scores:
    """What a model says of n rows: probabilities, or classes alone, or numbers."""

    probabilities: NDArray[np.float64] | None = None
    """[n, classes]"""
    chosen: NDArray[np.int64] | None = None
    """[n], the classes' numbers, where the model's own choice is not always the likeliest class."""
    values: NDArray[np.float64] | None = None
    """[n], of a regression."""
    assumed_logits: NDArray[np.float64] | None = None
    """[n, outputs], what the probabilities were made of, where nobody has said that it is logits."""


@dataclass(frozen=True)
class Contributions:
    """Of n rows: base + the sum of values = output."""

    values: NDArray[np.float64]
    """[n, k]"""
    base: NDArray[np.float64]
    """[n]"""
    output: NDArray[np.float64]
    """[n], as the model gives it."""
    space: Space
    method: str

    @property
    def adds_up(self) -> bool:
        """Whether it does, but for rounding: a link that nobody knew of would make it wrong altogether."""
        gap = np.abs(self.base + self.values.sum(axis=1) - self.output)
        return bool((gap <= _ROUNDING * np.maximum(1, np.abs(self.output))).all())


@dataclass(frozen=True)
class Options:
    """What a file's opener may need besides."""

    schema: Schema | None
    trusted_types: tuple[str, ...]
    folder: Path
    """Where the file lies."""
    threads: int
    seed: int
    """Of what is sampled."""


class Estimator(Protocol):
    """One loaded model. Safe to call from two threads: one that predicts, one that explains."""

    facts: Facts

    def scores(self, table: Table) -> Scores:
        """Of each row."""

    def exact(self, table: Table, chosen: NDArray[np.int64] | None, background: Table) -> Contributions | None:
        """Exact contributions to the chosen class (None: to the number), if there is a way to them; else None."""


_OPENERS: Final[dict[Format, str]] = {
    "skops": "sklearn:of_skops",
    "pickle": "sklearn:of_pickle",
    "xgboost": "xgboost:XGBoost",
    "lightgbm": "lightgbm:LightGBM",
    "onnx": "onnx:Onnx",
    "exported": "torch:of_exported",
    "script": "torch:of_script",
    "weights": "torch:of_weights",
}


def opener(kind: Format) -> Callable[[Path, Options], Estimator]:
    """What opens files of this kind. It raises `LoadFailed` for those that it cannot.

    Raises:
        ImportError: the library is not installed.
    """
    module, _, name = _OPENERS[kind].partition(":")
    found: Callable[[Path, Options], Estimator] = getattr(import_module(f"{__name__}.{module}"), name)
    return found


def codes_of(table: Table, enums: Mapping[int, Sequence[Any]]) -> NDArray[np.float64]:
    """float64 [n, k]: as `Table.codes`, but a category, of whatever type, is its place in the model's own list."""
    codes = table.codes()
    if enums:
        codes = codes.copy()
        for column, values in enums.items():
            places = {value: place for place, value in enumerate(values)}
            codes[:, column] = [places.get(value, math.nan) for value in table.values[:, column].tolist()]
    return codes


def softmax(margins: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities [n, classes] of margins [n, classes], or of margins [n] of the second of two classes."""
    margins = margins.astype(np.float64)
    if margins.ndim == 1 or margins.shape[1] == 1:
        positive = 1 / (1 + np.exp(-np.clip(margins.reshape(-1), -709, 709)))
        return np.column_stack([1 - positive, positive])
    exponents = np.exp(margins - margins.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return found


def two_columns(positive: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities [n, 2] of the second class's, [n]."""
    positive = positive.astype(np.float64).reshape(-1)
    return np.column_stack([1 - positive, positive])
