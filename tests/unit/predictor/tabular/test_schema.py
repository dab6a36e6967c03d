"""What is said of the features: beside the model, in an MLflow signature, in options; and what must not be said."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.tabular import flags, mlflow_model, schema

from .conftest import CANCER, IRIS_NAMES, load


def read(folder: Path, document: Any) -> schema.Schema:
    (folder / "schema.json").write_text(json.dumps(document))
    return schema.read(folder / "schema.json")


CHURN = {
    "tenure": {"type": "integer", "min": 0, "max": 100},
    "contract": {"type": "string", "enum": ["Month-to-month", "One year"], "default": "One year"},
}


def test_a_schema_is_features_by_name_or_a_list_or_the_bare_object(tmp_path: Path) -> None:
    whole = read(tmp_path, {"features": CHURN, "classes": ["stays", "leaves"], "output": "logits"})
    assert (whole.names, whole.classes, whole.output) == (("tenure", "contract"), ("stays", "leaves"), "logits")
    listed = [{"name": name, **stated} for name, stated in CHURN.items()]
    for same in (CHURN, {"feature_schema": CHURN}, {"features": listed}):
        assert read(tmp_path, same).features == whole.features


WRONG = {
    "unknown type": ({"a": {"type": "float"}}, r"features\.a\.type: Input should be 'number'"),
    "unknown field": ({"a": {"type": "number", "minimum": 0}}, r"features\.a\.minimum: Extra inputs"),
    "min above max": ({"a": {"min": 2, "max": 1}}, "expected min <= max, found 2 > 1"),
    "bounds of a string": ({"a": {"type": "string", "min": 0}}, "expected no min and max with type string"),
    "enum of another type": ({"a": {"type": "string", "enum": [1]}}, "expected values of type string"),
    "default outside enum": ({"a": {"enum": [1, 2], "default": 3}}, "expected a default that enum has"),
    "unseen without default": ({"a": {"enum": [1], "unseen": "default"}}, "expected a default with unseen"),
    "twice": ({"features": [{"name": "a"}, {"name": "a"}]}, "'a' is there twice"),
    "no name": ({"features": [{"type": "number"}]}, "features"),
    "none": ({"features": {}}, "expected 1 to 10000, found 0"),
    "no object": ([1], "expected an object"),
    "one class": ({"features": CHURN, "classes": ["a"]}, "at least two different names"),
    "other output": ({"features": CHURN, "output": "margin"}, "expected logits, probabilities or value"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_schema_is_refused_and_the_place_named(what: str, tmp_path: Path) -> None:
    document, words = WRONG[what]
    with pytest.raises(LoadFailed, match=words):
        read(tmp_path, document)


def test_a_schema_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{")
    with pytest.raises(LoadFailed, match="not readable JSON"):
        schema.read(tmp_path / "schema.json")


SIGNATURE = """
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.skops}
signature:
  inputs: '[{"type": "long", "name": "tenure", "required": true}, {"type": "double", "name": "charges", "required": false},
    {"type": "string", "name": "contract", "required": true}, {"type": "boolean", "name": "phone", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
"""


def test_an_mlflow_signature_is_a_schema(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(SIGNATURE)
    found = mlflow_model.schema_of(tmp_path / "MLmodel")
    assert found is not None
    assert [(one.name, one.type, one.nullable) for one in found.features] == [
        ("tenure", "integer", False),
        ("charges", "number", True),
        ("contract", "string", False),
        ("phone", "boolean", False),
    ]


@pytest.mark.parametrize(
    "text",
    ["flavors: {}", 'signature: {inputs: \'[{"type": "tensor", "tensor-spec": {"shape": [-1, 4]}}]\'}', "signature:"],
)
def test_an_mlmodel_file_without_columns_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(text)
    assert mlflow_model.schema_of(tmp_path / "MLmodel") is None


HOSTILE = [
    "!!python/object/apply:os.system ['true']",
    "a: [",
    "signature: {inputs: '['}",
    'signature: {inputs: \'[{"type": "binary"}]\'}',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_or_damaged_mlmodel_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(LoadFailed):
        mlflow_model.schema_of(tmp_path / "MLmodel")


def test_options_describe_columns() -> None:
    assert flags.feature_of("tenure=integer,min=0,max=100").model_dump(exclude_defaults=True) == {
        "name": "tenure", "type": "integer", "min": 0, "max": 100,
    }  # fmt: skip
    contract = flags.feature_of("a=b=string,enum=One year|Two year,default=One year,nullable,unseen=missing")
    assert (contract.name, contract.enum, contract.default) == ("a=b", ("One year", "Two year"), "One year")
    assert flags.feature_of("grade=integer,enum=1|2").enum == (1, 2)
    assert flags.feature_of("phone=boolean,default=true").default is True


def test_options_may_be_json_whose_texts_are_read_by_the_columns_type() -> None:
    def told(**stated: Any) -> dict[str, Any]:
        return flags.feature_of(json.dumps(stated)).model_dump(exclude_defaults=True)

    assert told(name="a, b=|c", enum=["x, y", 3], type="string") == {
        "name": "a, b=|c", "type": "string", "enum": ("x, y", "3"),
    }  # fmt: skip
    assert told(name="grade", type="integer", enum=[1, "2"], default="2")["enum"] == (1, 2)
    assert told(name="rate", default="0.5", min=0.25) == {"name": "rate", "default": 0.5, "min": 0.25}
    assert told(name="phone", type="boolean", default="true")["default"] is True


@pytest.mark.parametrize(
    "text", ['{"name": "a"', "{}", '{"name": "a", "least": 1}', '{"name": "a", "default": "x"}', "{1}"]
)
def test_json_that_describes_no_column_is_refused(text: str) -> None:
    with pytest.raises(LoadFailed, match="--column"):
        flags.feature_of(text)


@pytest.mark.parametrize(
    "text", ["tenure", "=number", "a=whole", "a=number,least=1", "a=number,min", "a=number,min=x", "a=integer,enum=x"]
)
def test_an_option_that_describes_none_is_refused(text: str) -> None:
    with pytest.raises(LoadFailed, match="--column"):
        flags.feature_of(text)


def test_options_win_over_schema_json_and_that_over_mlflow(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "pipeline", tmp_path / "model")
    signature = json.dumps([{"type": "double", "name": f"m{number}"} for number in range(4)])
    (tmp_path / "model" / "MLmodel").write_text(f"signature: {{inputs: '{signature}'}}")
    assert list(load(tmp_path / "model").schema.names) == IRIS_NAMES
    stated = load(tmp_path / "model", column=tuple(f"o{number}=number" for number in range(4)))
    assert stated.schema.names == ("o0", "o1", "o2", "o3")
    assert stated.classes == ("setosa", "versicolor", "virginica")
    (tmp_path / "model" / "schema.json").unlink()
    assert load(tmp_path / "model").schema.names == ("m0", "m1", "m2", "m3")
    (tmp_path / "model" / "MLmodel").unlink()
    bare = load(tmp_path / "model", class_name=("a", "b", "c"))
    assert (bare.schema.names, bare.classes, bare.schema.named) == (("f0", "f1", "f2", "f3"), ("a", "b", "c"), False)


def test_a_schema_that_the_model_contradicts_is_refused(models: Path) -> None:
    with pytest.raises(LoadFailed, match="the model takes 4 features, the schema has 1"):
        load(models / "pipeline", column=("a=number",))
    with pytest.raises(LoadFailed, match="the model has 3 classes, the schema 2"):
        load(models / "pipeline", class_name=("a", "b"))
    with pytest.raises(LoadFailed, match="the model gives numbers, the schema has classes"):
        load(models / "ridge", class_name=("a", "b"))


def test_columns_of_a_model_that_knows_their_names_are_found_by_them(models: Path, tmp_path: Path) -> None:
    spaced = load(models / "lightgbm", column=tuple(f"{name}=number" for name in reversed(CANCER.feature_names)))
    assert spaced.schema.names == tuple(map(str, CANCER.feature_names))
    wrong = (*(f"{name}=number" for name in CANCER.feature_names[1:]), "mean_radios=number")
    with pytest.raises(LoadFailed, match="the model was trained with a column 'mean_radius', which the schema has not"):
        load(models / "lightgbm", column=wrong)


def test_a_background_of_other_columns_is_refused(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "pipeline", tmp_path / "model")
    (tmp_path / "model" / "background.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LoadFailed, match=r"background\.csv: expected a line of column names"):
        load(tmp_path / "model")
    (tmp_path / "model" / "background.csv").write_text(",".join(IRIS_NAMES) + "\n1,2,3,99\n")
    with pytest.raises(LoadFailed, match="row 0, column 'petal_width': expected a number from 0 to 30"):
        load(tmp_path / "model")
