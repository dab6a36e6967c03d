"""XGBoost's own JSON and UBJSON. Contributions are its own exact TreeSHAP, which `shap.TreeExplainer` calls as well."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost
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
from moorage_predictor.tasks.tabular.schema import Schema
from moorage_predictor.tasks.tabular.table import Table

_PROBABILITY: Final = frozenset({"binary:logistic", "multi:softprob"})
_MARGIN: Final = frozenset({"binary:logitraw", "multi:softmax"})
_HINGE: Final = "binary:hinge"
_IDENTITY: Final = frozenset(
    {"reg:squarederror", "reg:absoluteerror", "reg:quantileerror", "reg:pseudohubererror", "reg:squaredlogerror"}
)
"""Of which the margin is the number itself, and not its logarithm."""


class XGBoost:
    """One booster."""

    def __init__(self, file: Path, options: Options) -> None:
        """Raises:
        LoadFailed: it is damaged, or gives several numbers for a row.
        """
        try:
            self._booster = xgboost.Booster(model_file=bytearray(file.read_bytes()))
            learner = json.loads(self._booster.save_config())["learner"]
        except (xgboost.core.XGBoostError, ValueError, KeyError) as error:
            raise LoadFailed(file, "not a complete XGBoost model: it is truncated or corrupt") from error
        self._booster.set_param({"nthread": options.threads})
        parameters = learner["learner_model_param"]
        self._objective = str(learner["learner_train_param"]["objective"])
        self._classes = max(2, int(parameters["num_class"])) if self._classifies else 0
        if int(parameters.get("num_target", 1)) > 1:
            raise LoadFailed(file, "expected a model with one output, found several targets")
        names = self._booster.feature_names
        best = self._booster.attr("best_iteration")
        # As XGBClassifier and XGBRegressor predict after training was stopped early.
        self._trees = (0, int(best) + 1) if best is not None and best.isdigit() else (0, 0)
        self._types = self._booster.feature_types
        enums = self._enums() if self._types and "c" in self._types else {}
        self._check_codes(file, options.schema, enums)
        self.facts = Facts(
            kind=f"xgboost {self._objective}",
            count=self._booster.num_features(),
            names=tuple(names) if names else None,
            enums=enums,
            classes=tuple(map(str, range(self._classes))) or None,
            numbered=True,
            probabilities=self._objective != _HINGE,
        )

    def _enums(self) -> dict[int, tuple[Any, ...]]:
        """The categories of the data frame that it was trained on, which newer versions write into the file."""
        learner = json.loads(bytes(self._booster.save_raw("json")))["learner"]["gradient_booster"]
        model = learner.get("model") or learner.get("gbtree", {}).get("model") or {}
        found = {}
        for column, known in enumerate(model.get("cats", {}).get("enc", [])):
            values = known["values"]
            if "offsets" in known:  # strings, one behind the other
                ends = known["offsets"]
                text = bytes(value & 0xFF for value in values)
                values = [text[start:end].decode() for start, end in pairwise(ends)]
            if values:
                found[column] = tuple(values)
        return found

    def _check_codes(self, file: Path, stated: Schema | None, enums: dict[int, tuple[Any, ...]]) -> None:
        """Of a category that the file does not list only the place counts, and of a list of numbers nobody knows if it has such.

        Raises:
            LoadFailed: the schema has such a list, and its numbers are not their places.
        """
        names = self._booster.feature_names
        for number, feature in enumerate(stated.features if stated is not None else ()):
            column = names.index(feature.name) if names and feature.name in names else number
            categorical = self._types and column < len(self._types) and self._types[column] == "c"
            if not categorical or column in enums or feature.type == "string" or feature.enum is None:
                continue
            if feature.enum != tuple(range(len(feature.enum))):
                raise LoadFailed(
                    file,
                    f"column {feature.name!r}: the model counts categories from 0 and the file does not list them: "
                    "expected an enum of strings in their order, or of 0, 1, 2, ...",
                )

    @property
    def _classifies(self) -> bool:
        return self._objective in _PROBABILITY | _MARGIN or self._objective == _HINGE

    def scores(self, table: Table) -> Scores:
        """Of each row."""
        raw = self._predict(table, output_margin=self._objective in _MARGIN)
        if not self._classifies:
            return Scores(values=raw.astype(np.float64).reshape(-1))
        if self._objective == _HINGE:
            return Scores(chosen=raw.astype(np.int64).reshape(-1))
        if self._objective in _MARGIN:
            return Scores(probabilities=softmax(raw))
        return Scores(probabilities=raw.astype(np.float64) if raw.ndim == 2 else two_columns(raw))

    def exact(self, table: Table, chosen: NDArray[np.int64] | None, background: Table) -> Contributions:
        """In margin space, of the chosen class; of two classes, of the second."""
        parts = self._predict(table, pred_contribs=True).astype(np.float64)
        margins = self._predict(table, output_margin=True).astype(np.float64)
        if parts.ndim == 3 and chosen is not None:
            rows = np.arange(len(chosen))
            parts, margins = parts[rows, chosen], margins[rows, chosen]
        space = "value" if self._objective in _IDENTITY or self._objective.startswith("rank:") else "margin"
        return Contributions(parts[:, :-1], parts[:, -1], margins.reshape(-1), space, "tree, exact")  # type: ignore[arg-type]

    def _predict(self, table: Table, **options: Any) -> NDArray[Any]:
        matrix = xgboost.DMatrix(
            codes_of(table, self.facts.enums),
            feature_names=self._booster.feature_names,
            feature_types=self._types,
            enable_categorical=bool(self._types and "c" in self._types),
        )
        found: NDArray[Any] = self._booster.predict(matrix, iteration_range=self._trees, **options)
        return found
