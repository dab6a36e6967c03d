"""Exact contributions of scikit-learn's trees and linear models. Called by `estimators/sklearn.py`.

Steps before the model are followed where they leave each column in its place (scalers, imputers); what mixes columns has no
exact way back to them, and the caller then samples.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.tasks.tabular.estimators import Contributions
from moorage_predictor.tasks.tabular.table import Table

_IN_PLACE: Final = frozenset(
    {
        "MaxAbsScaler",
        "MinMaxScaler",
        "PowerTransformer",
        "QuantileTransformer",
        "RobustScaler",
        "SimpleImputer",
        "StandardScaler",
    }
)
_BOOSTED: Final = ("xgboost", "lightgbm", "sklearn.ensemble._gb", "sklearn.ensemble._hist_gradient_boosting")
_TREES: Final = (*_BOOSTED, "sklearn.tree", "sklearn.ensemble._forest")
_LINEAR: Final = ("sklearn.linear_model", "sklearn.svm._classes")


def contributions(sk: Any, table: Table, chosen: NDArray[np.int64] | None, background: Table) -> Contributions | None:
    """Of `estimators.sklearn.SkLearn`; None if there is no exact way."""
    *before, last = sk.steps
    if any(type(step).__name__ not in _IN_PLACE for step in before if step != "passthrough"):
        return None
    module = type(last).__module__
    given = _through(before, sk.given(table))
    if given.shape != table.values.shape or not np.issubdtype(given.dtype, np.number):
        return None
    if module.startswith(_TREES):
        return _of_trees(sk, last, given, chosen)
    if module.startswith(_LINEAR) and hasattr(last, "coef_") and not hasattr(last, "support_vectors_"):
        return _of_linear(last, given, chosen, _through(before, sk.given(background)))
    return None


def _through(before: list[Any], given: Any) -> NDArray[Any]:
    for step in before:
        given = given if step == "passthrough" else step.transform(given)
    return np.asarray(given)


def _of_trees(sk: Any, last: Any, given: NDArray[Any], chosen: NDArray[np.int64] | None) -> Contributions | None:
    from shap import TreeExplainer

    if sk.trees is None:
        try:
            sk.trees = TreeExplainer(last, feature_perturbation="tree_path_dependent")
        except Exception:  # noqa: BLE001 - shap's error for a kind of trees that it does not know has several classes
            sk.trees = False
    if sk.trees is False:
        return None
    values = np.asarray(sk.trees.shap_values(given, check_additivity=False), dtype=np.float64)
    base = np.broadcast_to(np.asarray(sk.trees.expected_value, dtype=np.float64), _bases(values))
    output, space = _tree_output(last, given, chosen is not None)
    rows = np.arange(len(given))
    if values.ndim == 3:
        picked = np.zeros(len(given), dtype=np.int64) if chosen is None else chosen
        values, base = values[rows, :, picked], base[picked]
    else:
        base = np.broadcast_to(base.reshape(-1)[-1:], (len(given),))
    if output.ndim == 2 and chosen is not None:
        output = output[rows, chosen]
    return Contributions(values, base, output.astype(np.float64), space, "tree, exact")  # type: ignore[arg-type]


def _bases(values: NDArray[Any]) -> tuple[int, ...]:
    return (values.shape[2],) if values.ndim == 3 else (1,)


def _tree_output(last: Any, given: NDArray[Any], classifies: bool) -> tuple[NDArray[Any], str]:
    """What the trees' values add up to: of boosted classifiers margins, of forests probabilities."""
    module = type(last).__module__
    if not classifies:
        return np.asarray(last.predict(given)), "value"
    if module.startswith("xgboost"):
        return np.asarray(last.predict(given, output_margin=True)), "margin"
    if module.startswith("lightgbm"):
        return np.asarray(last.predict(given, raw_score=True)), "margin"
    if module.startswith(_BOOSTED):
        return np.asarray(last.decision_function(given)), "margin"
    return np.asarray(last.predict_proba(given)), "probability"


def _of_linear(
    last: Any, given: NDArray[Any], chosen: NDArray[np.int64] | None, background: NDArray[Any]
) -> Contributions | None:
    """Coefficient times distance from the mean of the background: what shap.LinearExplainer gives for independent features."""
    coefficients = np.atleast_2d(np.asarray(last.coef_, dtype=np.float64))
    intercepts = np.atleast_1d(np.asarray(last.intercept_, dtype=np.float64))
    mean = np.asarray(background, dtype=np.float64).mean(axis=0)
    picked = np.zeros(len(given), dtype=np.int64)
    if chosen is not None and len(coefficients) > 1:
        picked = chosen
    if len(intercepts) not in (1, len(coefficients)) or coefficients.shape[1] != given.shape[1]:
        return None
    weights = coefficients[picked]
    values = weights * (given - mean)
    base = weights @ mean + np.broadcast_to(intercepts, (len(coefficients),))[picked]
    if chosen is not None and hasattr(last, "decision_function"):
        output = np.asarray(last.decision_function(given), dtype=np.float64)
        output = output if output.ndim == 1 else output[np.arange(len(given)), picked]
        return Contributions(values, base, output, "margin", "linear, exact")
    linked = hasattr(last, "_base_loss") or hasattr(last, "_get_loss")  # predict is exp() of the sum, or the like
    output = base + values.sum(axis=1) if linked else np.asarray(last.predict(given), dtype=np.float64).reshape(-1)
    return Contributions(values, base, output, "margin" if linked else "value", "linear, exact")
