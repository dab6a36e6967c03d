"""scikit-learn's estimators and pipelines: from skops, or, if that was asked for, from a pickle."""

import logging
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput, LoadFailed
from moorage_predictor.tasks.tabular.estimators import Contributions, Estimator, Facts, Options, Scores
from moorage_predictor.tasks.tabular.estimators.encoders import categories
from moorage_predictor.tasks.tabular.table import Table

_log = logging.getLogger(__name__)

_LIKELIEST: Final = (
    "sklearn.tree",
    "sklearn.ensemble._forest",
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient_boosting",
    "sklearn.linear_model._logistic",
    "sklearn.naive_bayes",
    "sklearn.neural_network",
    "sklearn.discriminant_analysis",
    "xgboost",
    "lightgbm",
)
"""Where `predict` is the likeliest class, so that it need not be called beside `predict_proba`."""


def of_skops(file: Path, options: Options) -> Estimator:
    """What a skops file holds, if it holds nothing but types that are trusted.

    Raises:
        LoadFailed: it names others, or is damaged.
    """
    from skops.io import get_untrusted_types, load
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        untrusted = sorted(set(get_untrusted_types(file=file)) - set(options.trusted_types))
        if untrusted:
            raise LoadFailed(
                file,
                f"refused: it holds {', '.join(untrusted[:5])}{' and more' if len(untrusted) > 5 else ''}, which can run code; "
                "name what you trust with --trusted-type (trustedTypes)",
            )
        return SkLearn(load(file, trusted=list(options.trusted_types)), file, options)
    except LoadFailed:
        raise
    except UntrustedTypesFoundException as error:
        raise LoadFailed(file, "refused: it holds types that are not trusted") from error
    except Exception as error:  # a damaged file makes skops raise anything
        raise LoadFailed(file, f"not a skops file that can be read: {type(error).__name__}") from error


def of_pickle(file: Path, options: Options) -> Estimator:
    """What a pickle holds; whatever code is in it has run by then. `load.py` lets nothing come here that nobody allowed.

    Raises:
        LoadFailed: no estimator, or damaged.
    """
    import joblib

    _log.warning("a pickle is opened, which can run any code", extra={"file": file.name})
    try:
        made = joblib.load(file)
    except Exception as error:
        raise LoadFailed(file, f"the pickle could not be read: {type(error).__name__}: {str(error)[:200]}") from error
    return SkLearn(made, file, options)


class SkLearn:
    """One estimator or pipeline, with scikit-learn's methods."""

    def __init__(self, estimator: Any, file: Path, options: Options) -> None:
        """Raises:
        LoadFailed: it does not predict.
        """
        if not callable(getattr(estimator, "predict", None)):
            raise LoadFailed(file, f"expected an estimator with predict, found {type(estimator).__name__}")
        self.estimator = estimator
        self.steps = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
        self.last = self.steps[-1]
        classes = getattr(estimator, "classes_", None)
        if classes is not None and np.ndim(classes) != 1:
            raise LoadFailed(file, "expected a model with one output, found several")
        self._classes = None if classes is None else np.asarray(classes)
        self._gives_probabilities = self._classes is not None and hasattr(estimator, "predict_proba")
        self._likeliest = self._gives_probabilities and type(self.last).__module__.startswith(_LIKELIEST)
        names = getattr(estimator, "feature_names_in_", None)
        self._frame_names = None if names is None else tuple(map(str, names))
        count = getattr(estimator, "n_features_in_", None)
        found = categories(self.steps, self._frame_names)
        enums = {column: strings for column, one in found.items() if (strings := _strings(one))}
        self._none = {column for column, one in found.items() if None in one}
        self.facts = Facts(
            kind=" -> ".join(type(step).__name__ for step in self.steps),
            count=None if count is None else int(count),
            names=self._frame_names,
            enums=enums,
            classes=None if self._classes is None else tuple(map(str, self._classes.tolist())),
            probabilities=self._gives_probabilities,
        )
        self.trees: Any = None
        """shap's view of them, once it was asked for."""

    def scores(self, table: Table) -> Scores:
        """Of each row.

        Raises:
            InvalidInput: the estimator refuses them.
        """
        try:
            return self._scores(table)
        except ValueError as error:
            told = (str(error).splitlines() or ["ValueError"])[0][:200]
            raise InvalidInput(f"the model does not take these rows: {told}") from error

    def _scores(self, table: Table) -> Scores:
        given = self.given(table)
        if self._classes is None:
            return Scores(values=np.asarray(self.estimator.predict(given), dtype=np.float64).reshape(len(table)))
        probabilities = self.estimator.predict_proba(given).astype(np.float64) if self._gives_probabilities else None
        if self._likeliest:
            return Scores(probabilities=probabilities)
        places = {value: place for place, value in enumerate(self._classes.tolist())}
        chosen = np.array([places[value] for value in self.estimator.predict(given).tolist()], dtype=np.int64)
        return Scores(probabilities=probabilities, chosen=chosen)

    def given(self, table: Table) -> Any:
        """What the estimator was trained on: an array, or a data frame; a string that is missing is NaN, as pandas reads it, if
        None was not among the column's values in training."""
        values = table.values
        if not table.schema.numeric:
            values = values.copy()
            for number in range(values.shape[1]):
                if number not in self._none:
                    values[[value is None for value in values[:, number]], number] = math.nan
        if self._frame_names is None:
            return values
        import pandas

        columns = {name: values[:, number] for number, name in enumerate(self._frame_names)}
        return pandas.DataFrame(columns, copy=False).infer_objects()

    def exact(self, table: Table, chosen: NDArray[np.int64] | None, background: Table) -> Contributions | None:
        """Of trees and linear models, also behind steps that leave each column in its place."""
        from moorage_predictor.tasks.tabular.explain import exact

        return exact.contributions(self, table, chosen, background)


def _strings(values: tuple[Any, ...]) -> tuple[str, ...]:
    """Those of a column of strings; nothing of another column."""
    found = tuple(value for value in values if value is not None and value == value)
    return found if all(type(value) is str for value in found) else ()
