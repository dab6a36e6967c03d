"""What a request may hold, and that what is wrong with it is said with its row and column."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.tabular import table
from moorage_predictor.tasks.tabular.schema import Feature, Schema
from moorage_predictor.tasks.tabular.table import of_array, of_columns, of_rows
from moorage_predictor.wire.tabular_v1 import size_of

CHURN = Schema(
    [
        Feature(name="tenure", type="integer", min=0, max=100),
        Feature(name="charges", type="number", min=0, max=200, default=50.0),
        Feature(name="contract", type="string", enum=("Month-to-month", "One year", "Two year")),
        Feature(name="phone", type="boolean", nullable=True),
    ]
)
NUMBERS = Schema(
    [
        Feature(name="a"),
        Feature(name="b", type="integer", min=-5, max=5),
        Feature(name="c", type="boolean"),
        Feature(name="d", nullable=True),
        Feature(name="e", enum=(1, 2, 3), unseen="default", default=2),
    ]
)
ROW = {"tenure": 12, "charges": 65.0, "contract": "One year", "phone": True}


def test_rows_columns_and_objects_are_one_table() -> None:
    rows = of_rows(CHURN, [list(ROW.values())] * 2).values.tolist()
    shuffled = dict(reversed(ROW.items()))
    assert of_rows(CHURN, [ROW, shuffled]).values.tolist() == rows
    assert of_columns(CHURN, {name: [value] * 2 for name, value in shuffled.items()}).values.tolist() == rows
    assert rows[0] == [12, 65.0, "One year", True]


def test_arrays_of_any_number_type_are_one_table() -> None:
    columns = {
        "e": np.array([3, 1], np.uint8),
        "d": np.array([0.5, np.nan], np.float32),
        "c": np.array([True, False]),
        "b": np.array([[-5], [5]], np.int64),
        "a": np.array([1.5, 2], np.float64),
    }
    found = of_columns(NUMBERS, columns).values
    assert np.array_equal(found, np.array([[1.5, -5, 1, 0.5, 3], [2, 5, 0, np.nan, 1]]), equal_nan=True)
    assert np.array_equal(of_array(NUMBERS, found.astype(np.float32)).values, found, equal_nan=True)


def test_strings_may_come_as_bytes() -> None:
    contract = np.array([b"One year", "Two year"], dtype=np.object_)
    columns = {"tenure": [1, 2], "contract": contract, "phone": [None, False]}
    assert of_columns(CHURN, columns).values.tolist() == [[1, 50.0, "One year", pytest.approx(math.nan, nan_ok=True)],
                                                          [2, 50.0, "Two year", False]]  # fmt: skip
    with pytest.raises(InvalidInput, match="UTF-8"):
        of_columns(CHURN, {**columns, "contract": np.array([b"\xff", b"\xff"], dtype=np.object_)})


WRONG_ROWS: dict[str, tuple[Any, str]] = {
    "a column is missing": ([ROW, {k: v for k, v in ROW.items() if k != "contract"}], r"row 1, column 'contract': missing"),
    "a column is unknown": ([{**ROW, "tenur": 1}], "row 0, column 'tenur': unknown; expected tenure, charges"),
    "a row is short": ([list(ROW.values()), [1, 2]], r"row 1: expected 4 values \(tenure, .*\), found 2"),
    "a row is no row": ([list(ROW.values()), 7], "row 1: expected a list of 4 values or an object"),
    "text for a number": ([{**ROW, "charges": "65"}], "row 0, column 'charges': expected a number from 0 to 200, found '65'"),
    "a number for text": ([{**ROW, "contract": 1}], "row 0, column 'contract': expected one of Month-to-month"),
    "a fraction for an integer": ([{**ROW, "tenure": 1.5}], "row 0, column 'tenure': expected an integer"),
    "a boolean for a number": ([{**ROW, "tenure": True}], "row 0, column 'tenure': expected an integer .*found true"),
    "a number for a boolean": ([{**ROW, "phone": 7}], "row 0, column 'phone': expected true or false"),
    "below the minimum": ([ROW, ROW, {**ROW, "tenure": -1}], "row 2, column 'tenure': expected an integer from 0 to 100"),
    "above the maximum": ([{**ROW, "charges": 200.1}], "row 0, column 'charges': .* found 200.1"),
    "null without a default": ([{**ROW, "tenure": None}], "row 0, column 'tenure': missing"),
    "NaN without a default": ([{**ROW, "tenure": math.nan}], "row 0, column 'tenure': missing"),
    "infinity": ([{**ROW, "charges": math.inf}], "row 0, column 'charges': expected a number"),
    "an unseen category": ([{**ROW, "contract": "Weekly"}], "row 0, column 'contract': expected one of .*found 'Weekly'"),
    "a list for a value": ([{**ROW, "contract": ["One year"]}], "row 0, column 'contract'"),
    "an integer that no float has": ([{**ROW, "tenure": 2**60}], "row 0, column 'tenure'"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_ROWS)
def test_what_is_wrong_with_a_row_is_said_with_row_and_column(what: str) -> None:
    rows, words = WRONG_ROWS[what]
    with pytest.raises(InvalidInput, match=words):
        of_rows(CHURN, rows)


WRONG_NUMBERS: dict[str, tuple[list[Any], str]] = {
    "NaN": ([math.nan, 0, 0, 0, 1], "column 'a': missing"),
    "infinity": ([math.inf, 0, 0, 0, 1], "column 'a': expected a number, found inf"),
    "infinity where NaN may be": ([0, 0, 0, -math.inf, 1], "column 'd'"),
    "a fraction": ([0, 0.5, 0, 0, 1], "column 'b': expected an integer from -5 to 5, found 0.5"),
    "out of bounds": ([0, 6, 0, 0, 1], "column 'b'"),
    "no boolean": ([0, 0, 2, 0, 1], "column 'c': expected true or false, found 2"),
}


@pytest.mark.parametrize("what", WRONG_NUMBERS)
def test_a_wrong_number_in_an_array_is_said_with_row_and_column(what: str) -> None:
    row, words = WRONG_NUMBERS[what]
    good = [0.0, 0, 1, math.nan, 3]
    for make in (
        lambda: of_array(NUMBERS, np.array([good, row])),
        lambda: of_rows(NUMBERS, [[0, 0, True, None, 3], row]),
        lambda: of_columns(
            NUMBERS, {name: np.array(column) for name, column in zip("abcde", zip(good, row, strict=True), strict=True)}
        ),
    ):
        with pytest.raises(InvalidInput, match=f"row 1, {words}"):
            make()


def test_an_absent_value_becomes_what_the_schema_says_and_never_zero() -> None:
    found = of_rows(CHURN, [{"tenure": 1, "contract": "One year"}, {**ROW, "charges": None, "phone": None}]).values
    assert found[:, 1].tolist() == [50.0, 50.0]
    assert all(math.isnan(value) for value in found[:, 3])


def test_an_unseen_value_becomes_what_the_schema_says() -> None:
    assert of_rows(NUMBERS, [[0, 0, 1, 0, 9]]).values[0, 4] == 2
    seen = Schema([Feature(name="x", type="string", enum=("a",), nullable=True, unseen="missing")])
    assert of_rows(seen, [["b"]]).values.tolist() == [[None]]


def test_columns_of_different_lengths_are_told() -> None:
    with pytest.raises(InvalidInput, match="expected all of one length, found 'a': 1, 'b': 2"):
        of_columns(NUMBERS, {"a": [1], "b": [1, 2], "c": [True], "e": [1]})


def test_an_array_of_another_width_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"expected shape \[n, 5\], a row for each object, found \[2, 4\]"):
        of_array(NUMBERS, np.zeros((2, 4)))


def test_a_string_is_its_place_in_the_list_for_models_of_numbers() -> None:
    assert of_rows(CHURN, [list(ROW.values())]).codes().tolist() == [[12, 65, 1, 1]]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["One year", 1, 2]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
)
KEYS = st.sampled_from(["tenure", "charges", "contract", "phone", "a", "b", "c", "d", "e", "?"])
ROWS = st.lists(
    st.one_of(VALUES, st.lists(SCALARS, min_size=4, max_size=5), st.dictionaries(KEYS, SCALARS)), min_size=1, max_size=4
)


@settings(max_examples=300, deadline=None)
@given(rows=ROWS, columns=st.dictionaries(KEYS, st.one_of(VALUES, st.lists(SCALARS, min_size=2, max_size=2))))
def test_whatever_json_holds_becomes_a_whole_table_or_is_refused(rows: Any, columns: Any) -> None:
    for schema in (CHURN, NUMBERS):
        for make in (lambda schema=schema: of_rows(schema, rows), lambda schema=schema: of_columns(schema, columns)):
            try:
                table = make()
            except InvalidInput:
                continue
            assert table.values.shape[1] == len(schema)
            for feature, column in zip(schema.features, table.values.T, strict=True):
                kinds = {type(value) for value in column.tolist()}
                assert kinds <= ({str, type(None)} if feature.type == "string" else {bool, int, float})
                assert not any(isinstance(value, float) and math.isinf(value) for value in column.tolist())


MANY = Schema(
    [
        *(Feature(name=f"n{number}", nullable=True) for number in range(500)),
        Feature(name="s", type="string", default="x"),
    ]
)


def test_what_empty_rows_leave_out_is_counted_before_it_is_filled_in() -> None:
    for body in ({"instances": [{}, *[{}] * 7]}, {"inputs": {"n1": [1.0] * 8}}):
        assert size_of(body, MANY) == 8 * 501
    found = of_rows(MANY, [{}, {"n3": 2}]).values
    assert (found[1, 3], found[0, 500], found[1, 500]) == (2, "x", "x")
    assert np.isnan(found[:, :3].astype(float)).all()


@pytest.mark.parametrize("make", [lambda: of_rows(MANY, [{}] * 20_000), lambda: of_columns(MANY, {"n0": [1] * 20_000})])
def test_a_table_that_is_much_larger_than_its_request_is_refused(make: Any) -> None:
    with pytest.raises(InvalidInput, match="expected at most 19960 rows of 501 columns at once, found 20000"):
        make()


def test_a_missing_value_does_not_make_a_column_be_read_cell_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_cell", None)
    rows = [list(ROW.values()), [3, None, "Two year", None], [100, math.nan, "One year", False]]
    assert of_rows(CHURN, rows).values[:, 1].tolist() == [65.0, 50.0, 50.0]
    quick = of_rows(NUMBERS, [[1, 2, True, None, 3], [1.5, -5, 0, 0.5, None]]).values
    assert np.array_equal(quick, np.array([[1, 2, 1, np.nan, 3], [1.5, -5, 0, 0.5, 2]]), equal_nan=True)


@pytest.mark.parametrize("kind", ["number", "integer"])
@pytest.mark.parametrize("bounds", [{}, {"min": 0.5}, {"max": -0.5}, {"min": 0.5, "max": 1.2}, {"min": -3.5, "max": 8}])
def test_a_sample_is_made_of_the_schema_alone_and_fits_it(kind: Any, bounds: dict[str, float]) -> None:
    of_rows(
        Schema([Feature(name="a", type=kind, **bounds)]),
        table.sample(Schema([Feature(name="a", type=kind, **bounds)])).values.tolist(),
    )


def test_bounds_with_no_integer_between_them_are_refused() -> None:
    with pytest.raises(ValueError, match="expected an integer between min and max"):
        Feature(name="a", type="integer", min=0.2, max=0.8)
