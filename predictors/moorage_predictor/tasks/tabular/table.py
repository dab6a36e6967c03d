"""What a request holds -> a table in the schema's order, each value checked. Called by `wire/tabular.py`.

    rows of values, rows of names, columns by name, one array ──> Table ──> estimators/*

Where all features are numbers a table is one float64 array and is looked at as a whole; else each column is. Values are looked
at one by one only in a column that holds a wrong one, so that the message names its row and its column.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from types import NoneType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.tabular.schema import Feature, Schema

_NUMBERS: Final = frozenset({int, float})
_EXACT: Final = 2**53
"""From here on float64 has not every integer."""
MOST_VALUES: Final = 10_000_000
"""Of one table: a row may be written without its columns, in two bytes."""


class Table:
    """n rows of the schema's k features: float64 [n, k] with NaN for what is missing, or, with strings, object [n, k]."""

    __slots__ = ("schema", "values")

    def __init__(self, schema: Schema, values: NDArray[Any]) -> None:
        self.schema = schema
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, part: slice) -> "Table":
        """Some of the rows; a view."""
        return Table(self.schema, self.values[part])

    def codes(self) -> NDArray[np.float64]:
        """float64 [n, k]: a string is its place in the feature's `enum`.

        Raises:
            InvalidInput: a feature of strings has no `enum`.
        """
        if self.schema.numeric:
            return self.values
        found = np.empty(self.values.shape)
        for number, feature in enumerate(self.schema.features):
            column = self.values[:, number]
            if feature.type == "string":
                places = places_of(feature)
                found[:, number] = [math.nan if value is None else places[value] for value in column]
            else:
                found[:, number] = column
        return found

    @classmethod
    def joined(cls, parts: Sequence["Table"]) -> "Table":
        """The rows of all, in order."""
        return parts[0] if len(parts) == 1 else cls(parts[0].schema, np.concatenate([part.values for part in parts]))


def places_of(feature: Feature) -> dict[Any, int]:
    """Each value of an `enum` and its place in it."""
    if feature.enum is None:
        raise InvalidInput(
            f"column {feature.name!r}: the model takes numbers, and the schema has no enum of its strings"
        )
    return {value: place for place, value in enumerate(feature.enum)}


def of_rows(schema: Schema, rows: Sequence[Any]) -> Table:
    """A table of JSON rows: each a list in the schema's order, or an object by feature.

    Raises:
        InvalidInput: names the first row, and the column, that is wrong.
    """
    if schema.numeric and (quick := _quickly(schema, rows)) is not None:
        return _checked(schema, quick)
    check_size(schema, len(rows))
    names = schema.names
    whole = [_row(schema, names, number, row) for number, row in enumerate(rows)]
    return _by_columns(schema, list(zip(*whole, strict=True)))


def sample(schema: Schema) -> Table:
    """One row that the schema allows, made of nothing else."""
    return of_rows(schema, [[feature.usual for feature in schema.features]])


def check_size(schema: Schema, rows: int) -> None:
    """Before a table of so many rows is made.

    Raises:
        InvalidInput: it has too many values.
    """
    if rows * len(schema) > MOST_VALUES:
        most = MOST_VALUES // len(schema)
        raise InvalidInput(f"expected at most {most} rows of {len(schema)} columns at once, found {rows}")


def of_columns(schema: Schema, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> Table:
    """A table of columns by name, in any order: JSON lists, or arrays [n] or [n, 1] of numbers, booleans, `str` or `bytes`.

    Raises:
        InvalidInput: as `of_rows`; or the columns have different lengths.
    """
    arrays = {name: _flat(name, column) for name, column in columns.items()}
    if unknown := [name for name in arrays if name not in schema.index]:
        raise InvalidInput(f"column {unknown[0][:80]!r}: unknown; expected {_listed(schema.names)}")
    lengths = {len(column) for column in arrays.values()}
    if len(lengths) != 1:
        told = ", ".join(f"{name!r}: {len(column)}" for name, column in list(arrays.items())[:5])
        raise InvalidInput(f"columns: expected all of one length, found {told or 'none'}")
    (count,) = lengths
    check_size(schema, count)
    for feature in schema.features:
        if feature.name not in arrays:
            arrays[feature.name] = [_absent(feature, None)] * count
    if schema.numeric and all(
        isinstance(arrays[name], np.ndarray) and _suits(schema, name, arrays[name]) for name in arrays
    ):
        stacked = np.column_stack([np.asarray(arrays[name], dtype=np.float64) for name in schema.names])
        return _checked(schema, np.ascontiguousarray(stacked))
    return _by_columns(schema, [_listed_values(arrays[name]) for name in schema.names])


def of_array(schema: Schema, array: NDArray[Any]) -> Table:
    """A table of one array of numbers, [n, k] in the schema's order.

    Raises:
        InvalidInput: as `of_rows`.
    """
    if array.ndim != 2 or array.shape[1] != len(schema):
        raise InvalidInput(f"expected shape [n, {len(schema)}], a row for each object, found {list(array.shape)}")
    check_size(schema, len(array))
    if schema.numeric and array.dtype.kind in "iuf":
        return _checked(schema, np.ascontiguousarray(array, dtype=np.float64))
    return _by_columns(schema, [_listed_values(column) for column in array.T])


def _quickly(schema: Schema, rows: Sequence[Any]) -> NDArray[np.float64] | None:
    """float64 [n, k] of rows that hold nothing but numbers, all of them; else None."""
    kinds = {*map(type, rows)}
    lengths = {*map(len, rows)} if kinds <= {list, dict} else set()
    if lengths != {len(schema)} or len(kinds) != 1:
        return None
    if kinds == {dict}:
        names = schema.names
        try:
            rows = [[row[name] for name in names] for row in rows]
        except KeyError:
            return None
    if not _NUMBERS.issuperset(map(type, chain.from_iterable(rows))):
        return None
    return np.array(rows, dtype=np.float64)


def _checked(schema: Schema, values: NDArray[np.float64]) -> Table:
    """The whole array held against the schema at once; by columns only to find what is wrong, or what a default replaces."""
    whole = np.isfinite(values)
    if not whole.all():
        whole |= np.isnan(values) & schema.may_be_nan
    if (
        whole.all()
        and not (schema.bounded and bool(((values < schema.low) | (values > schema.high)).any()))
        and all(_listed_or_whole(schema.features[number], values[:, number]) for number in schema.particular)
    ):
        return Table(schema, values)
    return _by_columns(schema, values.T.tolist())


def _listed_or_whole(feature: Feature, column: NDArray[np.float64]) -> bool:
    """Whether all numbers [n] are integers, booleans, or in the list, as the feature asks; what is missing aside."""
    column = column[~np.isnan(column)]
    if feature.type == "integer" and bool(((column != np.floor(column)) | (np.abs(column) > _EXACT)).any()):
        return False
    if feature.type == "boolean" and bool(((column != 0) & (column != 1)).any()):
        return False
    return feature.enum is None or bool(np.isin(column, np.array(feature.enum, dtype=np.float64)).all())


def _row(schema: Schema, names: Sequence[str], number: int, row: Any) -> Sequence[Any]:
    """In the schema's order; None for what an object has not."""
    if type(row) is dict:
        unknown = next((name for name in row if name not in schema.index), None)
        if unknown is not None:
            raise InvalidInput(f"row {number}, column {str(unknown)[:80]!r}: unknown; expected {_listed(schema.names)}")
        return [row.get(name) for name in names]
    if type(row) is not list:
        raise InvalidInput(f"row {number}: expected a list of {len(schema)} values or an object by column")
    if len(row) != len(schema):
        raise InvalidInput(f"row {number}: expected {len(schema)} values ({_listed(schema.names)}), found {len(row)}")
    return row


def _by_columns(schema: Schema, columns: Sequence[Sequence[Any]]) -> Table:
    """k columns of n values each."""
    values = np.empty((len(columns[0]), len(schema)), dtype=np.float64 if schema.numeric else np.object_)
    for number, (feature, column) in enumerate(zip(schema.features, columns, strict=True)):
        found = _quick_column(feature, column)
        if found is None:
            allowed = None if feature.enum is None else frozenset(feature.enum)
            found = [_cell(feature, allowed, row, value) for row, value in enumerate(column)]
        values[:, number] = found
    return Table(schema, values)


def _quick_column(feature: Feature, column: Sequence[Any]) -> Sequence[Any] | None:
    """The column as the model gets it, looked at as a whole; None: a value of it may be wrong."""
    kinds = {*map(type, column)}
    if kinds == {NoneType}:
        return [_absent(feature, 0)] * len(column)
    if feature.type == "string":
        if not kinds <= {str, NoneType} or not (feature.enum is None or {*column} <= {*feature.enum, None}):
            return None
        absent = None in column
    else:
        if not kinds <= ({*_NUMBERS, NoneType, bool} if feature.type == "boolean" else {*_NUMBERS, NoneType}):
            return None
        try:
            numbers = np.array(column, dtype=np.float64)
        except OverflowError:
            return None
        low = -math.inf if feature.min is None else feature.min
        high = math.inf if feature.max is None else feature.max
        missing = np.isnan(numbers)
        good = np.isfinite(numbers) & (numbers >= low) & (numbers <= high)
        if not bool((missing | good).all()) or not _listed_or_whole(feature, numbers):
            return None
        absent = bool(missing.any())
        if feature.type == "boolean":
            column = [value if value is None or value != value else bool(value) for value in column]
    if not absent:
        return column
    if feature.default is None and not feature.nullable:
        return None
    stands = feature.missing
    return [stands if value is None or value != value else value for value in column]


def _cell(feature: Feature, allowed: frozenset[Any] | None, row: int, value: Any) -> Any:
    """One value, as the model gets it."""
    if value is None or (type(value) is float and math.isnan(value)):
        return _absent(feature, row)
    if not feature.fits(value) or (type(value) is float and math.isinf(value)):
        raise InvalidInput(f"row {row}, column {feature.name!r}: expected {feature.expected}, found {_shown(value)}")
    if feature.type == "boolean":
        value = bool(value)
    if allowed is not None and value not in allowed:
        if feature.unseen != "refuse":
            return feature.default if feature.unseen == "default" else (None if feature.type == "string" else math.nan)
        raise InvalidInput(f"row {row}, column {feature.name!r}: expected {feature.expected}, found {_shown(value)}")
    low, high = feature.min, feature.max
    if (low is not None and value < low) or (high is not None and value > high):
        raise InvalidInput(f"row {row}, column {feature.name!r}: expected {feature.expected}, found {_shown(value)}")
    if feature.type == "integer" and abs(value) > _EXACT:
        raise InvalidInput(f"row {row}, column {feature.name!r}: expected at most {_EXACT}, found {_shown(value)}")
    return value


def _absent(feature: Feature, row: int | None) -> Any:
    if feature.default is None and not feature.nullable:
        place = "" if row is None else f"row {row}, "
        raise InvalidInput(f"{place}column {feature.name!r}: missing; expected {feature.expected}")
    return feature.missing


def _flat(name: str, column: Sequence[Any] | NDArray[Any]) -> Any:
    if isinstance(column, np.ndarray):
        if column.ndim == 2 and column.shape[1] == 1:
            return column[:, 0]
        if column.ndim != 1:
            raise InvalidInput(f"column {name[:80]!r}: expected shape [n] or [n, 1], found {list(column.shape)}")
    elif type(column) is not list:
        raise InvalidInput(f"column {name[:80]!r}: expected a list with a value for each row")
    return column


def _suits(schema: Schema, name: str, column: NDArray[Any]) -> bool:
    """Whether an array's type says that each of its values is of the feature's type, or may be."""
    return column.dtype.kind in "iuf" or (
        column.dtype.kind == "b" and schema.features[schema.index[name]].type == "boolean"
    )


def _listed_values(column: Any) -> list[Any]:
    """Python's own values; `bytes` as text.

    Raises:
        InvalidInput: bytes that are not UTF-8.
    """
    values: list[Any] = column.tolist() if isinstance(column, np.ndarray) else column
    if bytes not in {*map(type, values)}:
        return values
    try:
        return [value.decode() if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError as error:
        raise InvalidInput("expected strings in UTF-8") from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _shown(value: Any) -> str:
    text = {True: "true", False: "false"}[value] if type(value) is bool else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
