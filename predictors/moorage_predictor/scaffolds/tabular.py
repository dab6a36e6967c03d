"""`moor init tabular`: iris as a scikit-learn pipeline in skops, and breast cancer as LightGBM's boosted trees in its own text.

    load_iris, load_breast_cancer -> folds -> how good it is -> all rows -> the model, schema.json, background.csv

Both data sets come in scikit-learn's wheel: Fisher's iris (150 flowers), and the Wisconsin diagnostic one (569 tumours).
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import lightgbm
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops.io import dump

from moorage_predictor.scaffolds import Model, Report

FOLDS: Final = 5
ROUNDS: Final = 100
BACKGROUND: Final = 50
"""Rows that explanations start from."""
SEED: Final = 20261122
_BOOSTING: Final = {
    "objective": "binary",
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 10,
    "seed": SEED,
    "deterministic": True,
    "num_threads": 1,
    "verbose": -1,
}

Rows = NDArray[np.float64]
Classes = NDArray[np.int64]
Fit = Callable[[Rows, Classes], Any]


def write(folder: Path, report: Report) -> tuple[Model, ...]:
    """Train both; leave `iris` and `breast-cancer` in the folder."""
    return _iris(folder / "iris", report), _breast_cancer(folder / "breast-cancer", report)


def _iris(folder: Path, report: Report) -> Model:
    data = load_iris()
    names = [name.removesuffix(" (cm)").replace(" ", "_") for name in data.feature_names]
    rows, classes = np.asarray(data.data, dtype=np.float64), np.asarray(data.target, dtype=np.int64)
    accuracy = _folds("iris", iris_pipeline, rows, classes, report)
    folder.mkdir()
    dump(iris_pipeline(rows, classes), folder / "model.skops")
    _beside(folder, names, [str(name) for name in data.target_names], rows, "cm", {"min": 0, "max": 30})
    measured = f"accuracy {accuracy:.3f}, the mean of {FOLDS} folds"
    return Model(name="iris", task="tabular", weights="model.skops", measured=measured)


def _breast_cancer(folder: Path, report: Report) -> Model:
    data = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    rows, classes = np.asarray(data.data, dtype=np.float64), np.asarray(data.target, dtype=np.int64)
    accuracy = _folds("breast-cancer", Boosted, rows, classes, report)
    folder.mkdir()
    # Its own `save_model` would say of a full disk what no OSError is.
    (folder / "model.txt").write_text(Boosted(rows, classes, names).booster.model_to_string(), encoding="utf-8")
    _beside(folder, names, [str(name) for name in data.target_names], rows, "", {"min": 0})
    measured = f"accuracy {accuracy:.3f}, the mean of {FOLDS} folds"
    return Model(name="breast-cancer", task="tabular", weights="model.txt", measured=measured)


def iris_pipeline(rows: Rows, classes: Classes) -> Any:
    """A scaler and a logistic regression."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, classes)


class Boosted:
    """LightGBM's own booster, with scikit-learn's `predict`."""

    def __init__(self, rows: Rows, classes: Classes, names: list[str] | Literal["auto"] = "auto") -> None:
        self.booster = lightgbm.train(
            _BOOSTING, lightgbm.Dataset(rows, classes, feature_name=names), num_boost_round=ROUNDS
        )

    def predict(self, rows: Rows) -> Classes:
        """The likelier class of each row."""
        found: Classes = (np.asarray(self.booster.predict(rows)) > 0.5).astype(np.int64)
        return found


def _folds(name: str, fit: Fit, rows: Rows, classes: Classes, report: Report) -> float:
    """The mean accuracy on each fold of a model that was trained on the others."""
    shares = []
    for done, (training, held_out) in enumerate(
        StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(rows, classes)
    ):
        report(f"training {name}", done, FOLDS + 1)
        model = fit(rows[training], classes[training])
        shares.append(float((model.predict(rows[held_out]) == classes[held_out]).mean()))
    report(f"training {name}", FOLDS, FOLDS + 1)
    return float(np.mean(shares))


def _beside(
    folder: Path, names: list[str], classes: list[str], rows: Rows, unit: str, bounds: dict[str, float]
) -> None:
    """schema.json, and a few of the rows in background.csv."""
    stated = {"type": "number", **bounds, **({"description": unit} if unit else {})}
    schema = {"features": dict.fromkeys(names, stated), "classes": classes}
    (folder / "schema.json").write_text(json.dumps(schema, indent=2) + "\n")
    chosen = np.random.default_rng(SEED).choice(len(rows), BACKGROUND, replace=False)
    with (folder / "background.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows[np.sort(chosen)].tolist()])
