"""Which values the fitted encoders of a scikit-learn pipeline know of each column. Called by `estimators/sklearn.py`."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

_REFUSES_OTHERS: Final = frozenset({"OneHotEncoder", "OrdinalEncoder"})
"""What has an error, or zeros, for a value that it was not trained on."""
_LEAVE_VALUES: Final = frozenset({"SimpleImputer"})
"""Steps in front of an encoder that only put one value in the place of another."""


def categories(steps: Sequence[Any], names: Sequence[str] | None) -> dict[int, tuple[Any, ...]]:
    """By column; of columns that no encoder gets as they are, nothing."""
    found: dict[int, tuple[Any, ...]] = {}
    for number, step in enumerate(steps):
        if type(step).__name__ == "ColumnTransformer" and number == 0:
            for _, part, columns in step.transformers_:
                places = _places(columns, names, int(step.n_features_in_))
                for place, values in zip(places, _of_chain(_steps(part)), strict=False):
                    found.setdefault(place, values)
            return found
    return dict(enumerate(_of_chain(steps)))


def _of_chain(steps: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Of each column that goes in, if an encoder comes first."""
    for step in steps:
        if type(step).__name__ in _REFUSES_OTHERS:
            known = getattr(step, "categories_", ())
            return [tuple(np.asarray(one, dtype=object).tolist()) for one in known]
        if type(step).__name__ not in _LEAVE_VALUES or getattr(step, "add_indicator", False):
            break
    return []


def _steps(part: Any) -> list[Any]:
    return [step for _, step in part.steps] if hasattr(part, "steps") else [part]


def _places(columns: Any, names: Sequence[str] | None, count: int) -> list[int]:
    """The numbers of columns that are given by name, number, slice or mask."""
    listed = [columns] if isinstance(columns, (str, int)) else columns
    if isinstance(listed, (list, tuple, np.ndarray)) and len(listed) and all(isinstance(one, str) for one in listed):
        return [names.index(str(one)) for one in listed] if names is not None else []
    if isinstance(listed, slice) and any(isinstance(end, str) for end in (listed.start, listed.stop)):
        return []
    picked = listed if isinstance(listed, slice) else np.asarray(listed, dtype=None if len(listed) else np.int64)
    return [int(place) for place in np.arange(count)[picked]]
