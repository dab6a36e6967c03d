"""LightGBM's own text. Contributions are its own exact TreeSHAP, which `shap.TreeExplainer` calls as well."""

from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular.estimators import (
    Contributions,
    Facts,
    Options,
    Scores,
    codes_of,
    softmax,
    two_columns,
)
from moorage_predictor.tasks.tabular.table import Table

_LOGARITHMIC: Final = frozenset({"poisson", "gamma", "tweedie"})
"""Of which the margin is the number's logarithm."""
_WORTH_THREADS: Final = 64
"""Rows."""


class LightGBM:
    """One booster."""

    def __init__(self, file: Path, options: Options) -> None:
        """Raises:
        LoadFailed: it is damaged.
        """
        try:
            text = file.read_text(encoding="utf-8")
            # Its parser takes a file that was cut off for a smaller one, or reads on behind its end.
            if "\nend of trees" not in text:
                raise ValueError
            self._booster = lightgbm.Booster(model_str=text)
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise LoadFailed(file, "not a complete LightGBM model: it is truncated or corrupt") from error
        head = dict(line.split("=", 1) for line in text.partition("\nTree=")[0].splitlines() if "=" in line)
        self._objective = head.get("objective", "").split(" ")[0]
        self._outputs = self._booster.num_model_per_iteration()
        self._threads = options.threads
        names = tuple(self._booster.feature_name())
        own = any(name != f"Column_{number}" for number, name in enumerate(names))
        classes = self._outputs if self._outputs > 1 else 2
        self.facts = Facts(
            kind=f"lightgbm {self._objective or 'without objective'}",
            count=len(names),
            names=names if own else None,
            enums=_enums(file, head.get("feature_infos", ""), self._booster.pandas_categorical),
            classes=tuple(map(str, range(classes))) if self._classifies else None,
            numbered=True,
        )

    @property
    def _classifies(self) -> bool:
        return self._objective in ("binary", "cross_entropy", "multiclass", "multiclassova") or self._outputs > 1

    def scores(self, table: Table) -> Scores:
        """Of each row."""
        raw = self._predict(codes_of(table, self.facts.enums))
        if not self._classifies:
            return Scores(values=raw.reshape(-1))
        if not self._objective:
            return Scores(probabilities=softmax(raw))  # a loss of the user's own: nobody knows its link
        if self._objective == "multiclassova":
            raw = raw / raw.sum(axis=1, keepdims=True)
        return Scores(probabilities=raw if raw.ndim == 2 else two_columns(raw))

    def exact(self, table: Table, chosen: NDArray[np.int64] | None, background: Table) -> Contributions:
        """In margin space, of the chosen class; of two classes, of the second."""
        codes = codes_of(table, self.facts.enums)
        parts = self._predict(codes, pred_contrib=True)
        margins = self._predict(codes, raw_score=True)
        if self._outputs > 1 and chosen is not None:
            rows = np.arange(len(chosen))
            parts = parts.reshape(len(chosen), self._outputs, -1)[rows, chosen]
            margins = margins[rows, chosen]
        space = "margin" if self._classifies or self._objective in _LOGARITHMIC else "value"
        return Contributions(parts[:, :-1], parts[:, -1], margins.reshape(-1), space, "tree, exact")  # type: ignore[arg-type]

    def _predict(self, codes: NDArray[np.float64], **options: Any) -> NDArray[Any]:
        # Threads that wait for each other cost more than a few rows do.
        threads = self._threads if len(codes) >= _WORTH_THREADS else 1
        return np.asarray(self._booster.predict(codes, num_threads=threads, **options))


def _enums(file: Path, infos: str, categories: list[list[Any]] | None) -> dict[int, tuple[Any, ...]]:
    """Those of the categorical columns of the data frame that it was trained on: they stand in the file's order.

    Raises:
        LoadFailed: there are not as many such columns.
    """
    if not categories:
        return {}
    columns = [number for number, info in enumerate(infos.split(" ")) if not info.startswith("[") and info != "none"]
    if len(columns) != len(categories):
        raise LoadFailed(
            file,
            f"it lists the categories of {len(categories)} columns and uses {len(columns)}, so nobody knows which are whose: "
            "train it without columns of one category, and with all categories in the data frame",
        )
    return {column: tuple(values) for column, values in zip(columns, categories, strict=True)}
