"""What each feature of a table may be: name, type, bounds, values, default. Read from `schema.json` beside the model, from an
MLflow signature (`mlflow_model.py`), or from `--column` options; `table.py` holds requests against it.

    {"features": {"tenure": {"type": "integer", "min": 0, "max": 100},
                  "contract": {"type": "string", "enum": ["Month-to-month", "One year", "Two year"]}},
     "classes": ["stays", "leaves"]}
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from moorage_predictor.errors import LoadFailed

Type = Literal["number", "integer", "boolean", "string"]
Value = StrictBool | StrictInt | StrictFloat | StrictStr

FILE_NAME: Final = "schema.json"
MAX_FEATURES: Final = 10_000
_MOST_BYTES: Final = 16 << 20


class Feature(BaseModel):
    """One column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=256)
    type: Type = "number"
    min: float | None = None
    max: float | None = None
    enum: Annotated[tuple[Value, ...], Field(min_length=1, max_length=100_000)] | None = None
    default: Value | None = None
    """Stands for a value that is missing."""
    nullable: bool = False
    """A value may be missing without a default; the model then gets NaN, or None for a string."""
    unseen: Literal["refuse", "default", "missing"] = "refuse"
    """What becomes of a value that `enum` has not."""
    description: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for value in (*(self.enum or ()), *(() if self.default is None else (self.default,))):
            if not self.fits(value):
                raise ValueError(f"expected values of type {self.type} in enum and default, found {value!r}")
        if self.type in ("string", "boolean") and (self.min is not None or self.max is not None):
            raise ValueError(f"expected no min and max with type {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected min <= max, found {self.min:g} > {self.max:g}")
        low, high = self._bounds
        if low > high:
            raise ValueError(f"expected an integer between min and max, found {self.min} and {self.max}")
        if self.unseen == "default" and self.default is None:
            raise ValueError("expected a default with unseen: default")
        if self.unseen == "missing" and not self.nullable:
            raise ValueError("expected nullable: true with unseen: missing")
        if self.enum and self.default is not None and self.default not in self.enum:
            raise ValueError(f"expected a default that enum has, found {self.default!r}")
        return self

    def fits(self, value: Any) -> bool:
        """Whether a JSON value is of this type; 1 and 0 stand for true and false where rows hold numbers alone."""
        kind = type(value)
        if self.type == "string":
            return kind is str
        if self.type == "boolean":
            return kind is bool or (kind in (int, float) and value in (0, 1))
        if kind is float:
            return self.type == "number" or math.isnan(value) or value.is_integer()
        return kind is int

    @property
    def expected(self) -> str:
        """For messages."""
        what = {"number": "a number", "integer": "an integer", "boolean": "true or false", "string": "a string"}[
            self.type
        ]
        if self.enum:
            listed = ", ".join(map(str, self.enum[:10])) + (", ..." if len(self.enum) > 10 else "")
            return f"one of {listed}"
        if self.min is not None and self.max is not None:
            return f"{what} from {self.min:g} to {self.max:g}"
        if self.min is not None:
            return f"{what} from {self.min:g} on"
        return f"{what} up to {self.max:g}" if self.max is not None else what

    @property
    def missing(self) -> Any:
        """What stands for an absent value."""
        if self.default is not None:
            return self.default
        return None if self.type == "string" else math.nan

    @property
    def _bounds(self) -> tuple[float, float]:
        """Of an integer the least and the greatest one, else min and max."""
        low = -math.inf if self.min is None else self.min
        high = math.inf if self.max is None else self.max
        return (float(np.ceil(low)), float(np.floor(high))) if self.type == "integer" else (low, high)

    @property
    def usual(self) -> Any:
        """A value that it may have, of what is stated alone: the default, the first of the enum, the middle of the bounds, else
        what is nearest to nothing."""
        if self.default is not None:
            return self.default
        if self.enum:
            return self.enum[0]
        if self.type in ("string", "boolean"):
            return "" if self.type == "string" else False
        low, high = self._bounds
        if math.isinf(low) or math.isinf(high):
            return float(low if math.isfinite(low) else min(0.0, high))
        middle = (low + high) / 2
        return float(np.floor(middle)) if self.type == "integer" else middle


class Schema:
    """All columns, in the model's order; immutable."""

    def __init__(
        self,
        features: Iterable[Feature],
        classes: Sequence[str] | None = None,
        output: str | None = None,
        *,
        named: bool = True,
    ) -> None:
        """`output` says what a model gives that does not say so itself: logits, probabilities or value. `named` is false where
        nobody has given the features names."""
        self.features = tuple(features)
        self.classes = tuple(classes) if classes else None
        self.output = output
        self.named = named
        self.names = tuple(feature.name for feature in self.features)
        self.index = {name: number for number, name in enumerate(self.names)}
        self.numeric = all(feature.type != "string" for feature in self.features)

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def low(self) -> NDArray[np.float64]:
        """The least value of each column, [k]."""
        return np.array([-math.inf if one.min is None else one.min for one in self.features])

    @cached_property
    def high(self) -> NDArray[np.float64]:
        """The greatest, [k]."""
        return np.array([math.inf if one.max is None else one.max for one in self.features])

    @cached_property
    def bounded(self) -> bool:
        """Whether any column has bounds."""
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())

    @cached_property
    def may_be_nan(self) -> NDArray[np.bool_]:
        """Of each column, whether the model itself gets what is missing, [k]."""
        return np.array([one.nullable and one.default is None for one in self.features])

    @cached_property
    def particular(self) -> tuple[int, ...]:
        """Columns of which a finite number within the bounds is not enough to know: integers, booleans, lists of values."""
        return tuple(
            number
            for number, one in enumerate(self.features)
            if one.type in ("integer", "boolean") or one.enum is not None
        )


def read(file: Path) -> Schema:
    """The schema in `schema.json`.

    Raises:
        LoadFailed: it is none; the message says where.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise LoadFailed(file, f"expected at most {_MOST_BYTES} bytes")
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise LoadFailed(file, "not readable JSON") from error
    if not isinstance(document, dict):
        raise LoadFailed(file, 'expected an object with "features"')
    if "features" not in document and "feature_schema" not in document:
        document = {"features": document}
    given = document.get("features", document.get("feature_schema"))
    if unknown := set(document) - {"features", "feature_schema", "classes", "output"}:
        raise LoadFailed(file, f"expected features, classes and output, found {', '.join(sorted(unknown))[:200]}")
    output = document.get("output")
    if output not in (None, "logits", "probabilities", "value"):
        raise LoadFailed(file, f"output: expected logits, probabilities or value, found {output!r}")
    return Schema(features_of(given, file), classes_of(document.get("classes"), file), output)


def features_of(given: Any, where: object) -> tuple[Feature, ...]:
    """Features by name, or a list of them with their names.

    Raises:
        LoadFailed: one of them is none.
    """
    items: list[tuple[Any, Any]]
    if isinstance(given, Mapping):
        items = list(given.items())
    elif isinstance(given, list) and all(isinstance(one, dict) for one in given):
        items = [(one.get("name"), {key: value for key, value in one.items() if key != "name"}) for one in given]
    else:
        raise LoadFailed(where, "features: expected an object of features by name, or a list of them")
    if not 0 < len(items) <= MAX_FEATURES:
        raise LoadFailed(where, f"features: expected 1 to {MAX_FEATURES}, found {len(items)}")
    features = []
    for name, stated in items:
        try:
            features.append(
                Feature.model_validate({"name": name, **(stated if isinstance(stated, dict) else {"type": stated})})
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, ("features", name, *first["loc"])))
            raise LoadFailed(where, f"{place}: {first['msg'].removeprefix('Value error, ')}") from error
    names = [feature.name for feature in features]
    if len(set(names)) != len(names):
        raise LoadFailed(where, f"features: {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return tuple(features)


def classes_of(given: Any, where: object) -> tuple[str, ...] | None:
    """Names of the classes, in the model's order.

    Raises:
        LoadFailed: it is no list of different names.
    """
    if given is None:
        return None
    if not isinstance(given, list) or len(given) < 2 or len({str(one) for one in given}) != len(given):
        raise LoadFailed(where, "classes: expected a list of at least two different names")
    return tuple(str(one) for one in given)
