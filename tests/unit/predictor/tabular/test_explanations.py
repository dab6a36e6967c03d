"""Base value and values add up to the model's output, are those of independent implementations, and the same each time."""

import json
import shutil
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import shap
import skops.io
import xgboost
from sklearn.ensemble import HistGradientBoostingRegressor

from moorage_predictor.tasks.tabular import Explained, TabularModel
from moorage_predictor.tasks.tabular.table import of_array, of_rows

from .conftest import CANCER, DIABETES, IRIS, histogram_types, load

TREES = {"boosting": CANCER, "histogram": CANCER, "lightgbm": CANCER, "forest": IRIS, "xgboost-json": IRIS}
"""Gradient boosting in margins, the forest in probabilities."""
EXACT, FLOAT32, CAPTUM = 1e-6, 1e-5, 1e-4
"""XGBoost and captum sum in float32."""


def explained(model: TabularModel, rows: np.ndarray) -> Explained:
    return model.explain(of_array(model.schema, rows))


def gap(found: Explained) -> float:
    parts = found.contributions
    return float(np.abs(parts.base + parts.values.sum(axis=1) - parts.output).max())


@pytest.mark.parametrize("name", TREES)
def test_values_of_trees_add_up_to_a_millionth(name: str, models: Path) -> None:
    found = explained(load(models / name, trusted_type=histogram_types()), TREES[name].data[::7])
    assert found.contributions.method == "tree, exact"
    assert found.contributions.space == ("probability" if name == "forest" else "margin")
    assert gap(found) < EXACT


@pytest.mark.parametrize("name", ["boosting", "lightgbm"])
def test_the_output_of_two_classes_is_the_margin_of_the_second(name: str, models: Path) -> None:
    found = explained(load(models / name), CANCER.data[::7])
    margin = np.log(found.prediction.probabilities[:, 1] / found.prediction.probabilities[:, 0])
    assert np.abs(found.contributions.output - margin).max() < 1e-6
    assert set(found.explained) == {1}


def test_of_more_classes_the_predicted_one_is_explained(models: Path) -> None:
    found = explained(load(models / "forest"), IRIS.data[::7])
    assert np.array_equal(found.explained, found.prediction.chosen)
    assert np.abs(found.contributions.output - found.prediction.confidence).max() < EXACT


def test_values_of_boosted_trees_are_those_of_shap(models: Path) -> None:
    estimator = skops.io.load(models / "boosting" / "model.skops", trusted=list(histogram_types()))
    own = explained(load(models / "boosting"), CANCER.data[:30]).contributions.values
    assert np.abs(own - shap.TreeExplainer(estimator).shap_values(CANCER.data[:30])).max() < EXACT


def test_values_of_a_linear_model_are_those_of_shap(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "ridge", tmp_path / "model")
    names = [f"f{number}" for number in range(DIABETES.data.shape[1])]
    usual = DIABETES.data[:40]
    lines = [",".join(names), *(",".join(map(repr, row)) for row in usual.tolist())]
    (tmp_path / "model" / "background.csv").write_text("\n".join(lines))
    found = explained(load(tmp_path / "model"), DIABETES.data[40:60])
    scaler, ridge = skops.io.load(models / "ridge" / "model.skops")
    reference = shap.LinearExplainer(ridge, scaler.transform(usual))
    assert (
        np.abs(found.contributions.values - reference.shap_values(scaler.transform(DIABETES.data[40:60]))).max() < EXACT
    )
    assert gap(found) < EXACT
    assert (found.contributions.space, found.contributions.method) == ("value", "linear, exact")


@pytest.mark.parametrize("data", [CANCER, DIABETES], ids=["margins of tumours", "a regression in hundreds"])
def test_values_of_xgboost_add_up_as_far_as_its_own_float32_does(data: Any, tmp_path: Path) -> None:
    options = {"objective": "binary:logistic" if data is CANCER else "reg:squarederror", "nthread": 1}
    booster = xgboost.train(options, xgboost.DMatrix(data.data, data.target), 100)
    booster.save_model(tmp_path / "model.ubj")
    found = explained(load(tmp_path), data.data[::3])
    assert np.array_equal(
        found.contributions.output, booster.predict(xgboost.DMatrix(data.data[::3]), output_margin=True)
    )
    assert gap(found) < FLOAT32 * max(1, np.abs(found.contributions.output).max())


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_of_counts_the_logarithm_is_explained(library: str, tmp_path: Path) -> None:
    if library == "xgboost":
        options = {"objective": "count:poisson", "nthread": 1}
        xgboost.train(options, xgboost.DMatrix(DIABETES.data, DIABETES.target), 10).save_model(tmp_path / "model.ubj")
    else:
        options = {"objective": "poisson", "num_threads": 1, "verbose": -1}
        lightgbm.train(options, lightgbm.Dataset(DIABETES.data, DIABETES.target), 10).save_model(tmp_path / "model.txt")
    found = explained(load(tmp_path), DIABETES.data[::20])
    assert found.contributions.space == "margin"
    assert np.abs(np.exp(found.contributions.output) / found.prediction.values - 1).max() < 1e-5
    assert gap(found) < 1e-5


def test_values_that_would_not_add_up_are_sampled_instead(tmp_path: Path) -> None:
    """Of this loss shap's values are parts of a logarithm, and the estimator has no public word for that."""
    regressor = HistGradientBoostingRegressor(loss="poisson", max_iter=5, random_state=0)
    skops.io.dump(regressor.fit(DIABETES.data[:, :4], DIABETES.target), tmp_path / "model.skops")
    trusted = tuple(skops.io.get_untrusted_types(file=tmp_path / "model.skops"))
    found = explained(load(tmp_path, trusted_type=trusted), DIABETES.data[:2, :4])
    assert found.contributions.method.startswith("permutations")
    assert found.contributions.space == "value"
    assert gap(found) < EXACT


def test_a_linear_classifier_is_explained_in_margins(models: Path) -> None:
    model = load(models / "pipeline")
    found = explained(model, IRIS.data[::7])
    pipeline = skops.io.load(models / "pipeline" / "model.skops")
    margins = pipeline.decision_function(IRIS.data[::7])[np.arange(len(found.explained)), found.explained]
    assert np.abs(found.contributions.output - margins).max() < EXACT
    assert gap(found) < EXACT


@pytest.mark.parametrize("name", ["exported", "script", "weights"])
def test_a_torch_net_is_explained_by_captum_and_adds_up(name: str, models: Path) -> None:
    model = load(models / name)
    first, second = explained(model, IRIS.data[::30]), explained(model, IRIS.data[::30])
    assert first.contributions.method.startswith("captum")
    assert gap(first) < CAPTUM
    assert np.array_equal(first.contributions.values, second.contributions.values)


def test_what_has_no_exact_way_is_sampled_with_a_seed_and_adds_up(models: Path) -> None:
    rows = IRIS.data[::40]
    first, again = explained(load(models / "onnx"), rows), explained(load(models / "onnx"), rows)
    other = explained(load(models / "onnx", explain_seed=7), rows)
    assert first.contributions.method == "permutations, seed 0"
    assert gap(first) < EXACT
    assert np.array_equal(first.contributions.values, again.contributions.values)
    assert other.contributions.method == "permutations, seed 7"
    assert gap(other) < EXACT


def test_a_model_of_words_is_sampled_over_its_own_columns(tmp_path: Path) -> None:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    from .test_models import mixed

    frame, target = mixed()
    encode = make_column_transformer((OneHotEncoder(), ["size"]), remainder="passthrough")
    skops.io.dump(make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(frame, target), tmp_path / "model.skops")
    features = {
        "radius": {"type": "number"},
        "texture": {"type": "number"},
        "perimeter": {"type": "number"},
        "size": {"type": "string", "enum": ["small", "medium", "large"]},
        "rough": {"type": "boolean"},
    }
    (tmp_path / "schema.json").write_text(json.dumps({"features": features}))
    model = load(tmp_path)
    rows = frame.iloc[[0, 20, 50]].to_numpy().tolist()
    found = model.explain(of_rows(model.schema, rows))
    assert found.contributions.values.shape == (3, 5)
    assert gap(found) < EXACT
    assert found.contributions.space == "probability"
