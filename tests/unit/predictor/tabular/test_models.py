"""What is answered is what the library answers offline, for every kind of file."""

import json
import shutil
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas
import pytest
import skops.io
import torch
import xgboost
from onnx import TensorProto, helper
from safetensors.torch import save_file
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from moorage_predictor.errors import InvalidInput, LoadFailed
from moorage_predictor.tasks.tabular.table import of_array, of_rows

from .conftest import CANCER, DIABETES, IRIS, IRIS_SCHEMA, TREE, histogram_types, load


def probabilities(path: Path, rows: np.ndarray, **changes: Any) -> np.ndarray:
    model = load(path, **changes)
    found = model.predict(of_array(model.schema, rows))
    assert found.probabilities is not None
    assert np.array_equal(found.chosen, found.probabilities.argmax(axis=1))
    assert found.label.tolist() == [model.classes[number] for number in found.chosen]
    return found.probabilities


def test_scikit_learn_answers_as_offline(models: Path) -> None:
    trusted = list(histogram_types())
    for name, rows in (
        ("pipeline", IRIS.data),
        ("boosting", CANCER.data),
        ("forest", IRIS.data),
        ("histogram", CANCER.data),
    ):
        offline = skops.io.load(models / name / "model.skops", trusted=trusted).predict_proba(rows)
        assert np.array_equal(probabilities(models / name, rows, trusted_type=histogram_types()), offline), name


def test_xgboost_answers_as_offline_from_json_and_ubj(models: Path) -> None:
    offline = xgboost.Booster(model_file=models / "xgboost-json" / "model.json").predict(xgboost.DMatrix(IRIS.data))
    for name in ("xgboost-json", "xgboost-ubj"):
        assert np.array_equal(probabilities(models / name, IRIS.data), offline)


def test_lightgbm_answers_as_offline(models: Path) -> None:
    offline = lightgbm.Booster(model_file=models / "lightgbm" / "model.txt").predict(CANCER.data)
    assert np.array_equal(probabilities(models / "lightgbm", CANCER.data)[:, 1], offline)


@pytest.mark.parametrize("name", ["exported", "script", "weights", "onnx"])
def test_a_torch_net_answers_as_offline_from_every_file(name: str, models: Path, net: torch.nn.Sequential) -> None:
    with torch.inference_mode():
        offline = net(torch.from_numpy(IRIS.data.astype(np.float32))).double().softmax(1).numpy()
    assert np.abs(probabilities(models / name, IRIS.data) - offline).max() < 1e-6
    assert probabilities(models / name, IRIS.data[:1]).shape == (1, 3)


def test_a_regression_answers_numbers(models: Path) -> None:
    model = load(models / "ridge")
    offline = skops.io.load(models / "ridge" / "model.skops").predict(DIABETES.data)
    found = model.predict(of_array(model.schema, DIABETES.data))
    assert np.array_equal(found.values, offline)
    assert (found.label, found.probabilities, model.classes) == (None, None, None)


def test_confidence_is_a_number_and_a_word(models: Path) -> None:
    model = load(models / "pipeline", medium_confidence=0.7, high_confidence=0.9)
    found = model.predict(of_array(model.schema, IRIS.data))
    assert np.array_equal(found.confidence, found.probabilities.max(axis=1))
    words = ["high" if share >= 0.9 else "medium" if share >= 0.7 else "low" for share in found.confidence]
    assert found.level.tolist() == words
    assert set(words) == {"low", "medium", "high"}


def mixed() -> tuple[pandas.DataFrame, np.ndarray]:
    """Breast cancer with two columns of words, one made of a measurement, the other of two."""
    frame = pandas.DataFrame(CANCER.data[:, :3], columns=["radius", "texture", "perimeter"])
    frame["size"] = np.array(["small", "medium", "large"], dtype=object)[np.digitize(CANCER.data[:, 3], [450, 800])]
    frame["rough"] = CANCER.data[:, 4] > 0.1
    return frame, CANCER.target


def test_a_pipeline_that_was_trained_on_a_data_frame_gets_one(tmp_path: Path) -> None:
    frame, target = mixed()
    encode = make_column_transformer(
        (OneHotEncoder(), ["size"]), (StandardScaler(), ["radius", "texture"]), remainder="passthrough"
    )
    pipeline = make_pipeline(encode, LogisticRegression(max_iter=2000)).fit(frame, target)
    skops.io.dump(pipeline, tmp_path / "model.skops")
    columns = (
        "radius=number",
        "texture=number",
        "perimeter=number",
        "size=string,enum=small|medium|large",
        "rough=boolean",
    )
    model = load(tmp_path, column=columns, class_name=("malignant", "benign"))
    rows = [dict(zip(frame.columns, row, strict=True)) for row in frame.to_numpy().tolist()]
    found = model.predict(of_rows(model.schema, rows))
    assert np.allclose(found.probabilities, pipeline.predict_proba(frame), atol=1e-12)
    shuffled = load(tmp_path, column=(columns[4], *columns[:4]), class_name=("malignant", "benign"))
    assert shuffled.schema.names == tuple(frame.columns)


def test_categories_of_lightgbm_are_those_it_was_trained_on(tmp_path: Path) -> None:
    frame, target = mixed()
    frame["size"] = frame["size"].astype("category")
    options = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 5}
    booster = lightgbm.train(options, lightgbm.Dataset(frame, target), 10)
    booster.save_model(tmp_path / "model.txt")
    model = load(tmp_path)
    assert model.schema.features[3].enum == ("large", "medium", "small")
    plain = frame.astype({"size": object}).to_numpy().tolist()
    rows = of_rows(model.schema, [[*row[:4], float(row[4])] for row in plain])
    assert np.array_equal(model.predict(rows).probabilities[:, 1], booster.predict(frame))


def test_training_that_was_stopped_early_counts_its_best_trees_alone(tmp_path: Path) -> None:
    classifier = xgboost.XGBClassifier(n_estimators=40, early_stopping_rounds=2, n_jobs=1, learning_rate=1.0)
    classifier.fit(
        CANCER.data[:300], CANCER.target[:300], eval_set=[(CANCER.data[300:], CANCER.target[300:])], verbose=False
    )
    classifier.save_model(tmp_path / "model.ubj")
    assert classifier.best_iteration + 1 < classifier.get_booster().num_boosted_rounds()
    assert np.abs(probabilities(tmp_path, CANCER.data) - classifier.predict_proba(CANCER.data)).max() < 1e-7


@pytest.mark.parametrize(
    "estimator",
    [
        LinearSVC(dual=False),
        KNeighborsClassifier(3, algorithm="brute", weights="distance"),
        CalibratedClassifierCV(LogisticRegression(max_iter=5000), cv=2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_label_is_what_the_estimator_predicts(estimator: Any, tmp_path: Path) -> None:
    estimator.fit(IRIS.data, IRIS.target)
    skops.io.dump(estimator, tmp_path / "model.skops")
    model = load(tmp_path, trusted_type=tuple(skops.io.get_untrusted_types(file=tmp_path / "model.skops")))
    found = model.predict(of_array(model.schema, IRIS.data))
    assert np.array_equal(found.chosen, estimator.predict(IRIS.data))
    assert model.gives_probabilities == hasattr(estimator, "predict_proba")


def tree_ensemble(labels: bool) -> onnx.ModelProto:
    """As converters write a decision stump: a label and probabilities."""
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["input"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[2, 0, 0], nodes_values=[2.45, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        nodes_hitrates=[1.0, 1.0, 1.0], nodes_missing_value_tracks_true=[0, 0, 0],
        class_treeids=[0] * 6, class_nodeids=[1, 1, 1, 2, 2, 2], class_ids=[0, 1, 2] * 2, class_weights=[0.9, 0.05, 0.05, 0.1, 0.2, 0.7],
        post_transform="NONE",
        **({"classlabels_strings": ["setosa", "rare", "other"]} if labels else {"classlabels_int64s": [0, 1, 2]}),
    )  # fmt: skip
    kind = TensorProto.STRING if labels else TensorProto.INT64
    made = helper.make_graph(
        [node],
        "stump",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 4])],
        [
            helper.make_tensor_value_info("label", kind, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3]),
        ],
    )
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9
    )


@pytest.mark.parametrize("labels", [True, False])
def test_an_onnx_classifier_with_a_label_answers_both(labels: bool, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tree_ensemble(labels).SerializeToString())
    model = load(tmp_path, class_name=("setosa", "rare", "other"))
    found = model.predict(of_array(model.schema, IRIS.data))
    assert found.label.tolist() == ["setosa" if row[2] <= 2.45 else "other" for row in IRIS.data]
    assert found.confidence[[0, -1]].tolist() == pytest.approx([0.9, 0.7])


def test_classes_are_renamed_all_of_them_or_stand_as_the_model_has_them(tmp_path: Path) -> None:
    target = np.array(["well", "ill"])[CANCER.target]
    classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(CANCER.data, target)
    (tmp_path / "linear").mkdir()
    skops.io.dump(classifier, tmp_path / "linear" / "model.skops")
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(tree_ensemble(True).SerializeToString())
    for folder, swapped, mixed_up, renamed in (
        ("linear", ("well", "ill"), ("well", "sick"), ("a", "b")),
        ("onnx", ("rare", "setosa", "other"), ("setosa", "rare", "rest"), ("a", "b", "c")),
    ):
        with pytest.raises(LoadFailed, match="in this order; the schema lists them in another order"):
            load(tmp_path / folder, class_name=swapped)
        with pytest.raises(LoadFailed, match="the schema lists some of them and others"):
            load(tmp_path / folder, class_name=mixed_up)
        assert load(tmp_path / folder, class_name=renamed).classes == renamed
    named = load(tmp_path / "onnx", class_name=("a", "b", "c"))
    found = named.predict(of_array(named.schema, IRIS.data))
    assert found.label.tolist() == ["a" if row[2] <= 2.45 else "c" for row in IRIS.data]
    assert load(tmp_path / "onnx").classes == ("setosa", "rare", "other")


def test_numbered_classes_get_names_that_may_be_numbers_but_not_swapped_ones(models: Path) -> None:
    assert load(models / "xgboost-ubj", class_name=("1", "2", "3")).classes == ("1", "2", "3")
    with pytest.raises(LoadFailed, match="in another order"):
        load(models / "xgboost-ubj", class_name=("2", "1", "0"))


def ending_in(operators: list[str], output: str, models: Path) -> onnx.ModelProto:
    made = onnx.load(models / "onnx" / "model.onnx")
    last = "logits"
    for number, operator in enumerate(operators):
        following = output if number == len(operators) - 1 else f"after{number}"
        made.graph.node.append(helper.make_node(operator, [last], [following]))
        last = following
    made.graph.output[0].name = output
    return made


@pytest.mark.parametrize("operators", [["Softmax"], ["Softmax", "Identity"]])
def test_an_onnx_softmax_is_known_by_its_operator_whatever_its_name(
    operators: list[str], models: Path, tmp_path: Path, net: torch.nn.Sequential
) -> None:
    (tmp_path / "model.onnx").write_bytes(ending_in(operators, "output", models).SerializeToString())
    with torch.inference_mode():
        offline = net(torch.from_numpy(IRIS.data.astype(np.float32))).double().softmax(1).numpy()
    found = probabilities(tmp_path, IRIS.data, class_name=tuple(IRIS_SCHEMA["classes"]))
    assert np.abs(found - offline).max() < 1e-6


def test_an_onnx_output_that_is_called_probability_is_no_more_than_its_operator(models: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(ending_in(["Identity"], "probabilities", models).SerializeToString())
    assert np.abs(probabilities(tmp_path, IRIS.data) - probabilities(models / "onnx", IRIS.data)).max() < 1e-6
    inputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 3])]
    outputs = [helper.make_tensor_value_info("probability_of_rain", TensorProto.FLOAT, [None, 1])]
    node = helper.make_node("ReduceSum", ["rows", "axes"], ["probability_of_rain"])
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    graph = helper.make_graph([node], "sum", inputs, outputs, [axes])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    model = load(tmp_path)
    assert model.predict(of_rows(model.schema, [[1, 2, 3]])).values.tolist() == [6.0]


def test_layers_that_end_in_softmax_give_probabilities(models: Path, tmp_path: Path, net: torch.nn.Sequential) -> None:
    shutil.copytree(models / "weights", tmp_path / "model")
    layers = [{"linear": [4, 16]}, "relu", {"linear": [16, 3]}, "softmax", {"dropout": 0.1}]
    (tmp_path / "model" / "config.json").write_text(json.dumps({"layers": layers}))
    assert (
        np.abs(probabilities(tmp_path / "model", IRIS.data) - probabilities(models / "weights", IRIS.data)).max() < 1e-6
    )


@pytest.mark.parametrize("end", [[torch.nn.Softmax(1)], [torch.nn.Linear(3, 1), torch.nn.Sigmoid()]])
def test_a_module_whose_softmax_cannot_be_seen_asks_what_it_gives(
    end: list[torch.nn.Module], tmp_path: Path, net: torch.nn.Sequential
) -> None:
    torch.jit.script(torch.nn.Sequential(*net, *end)).save(str(tmp_path / "model.pt"))
    schema = {**IRIS_SCHEMA, "classes": ["a", "b"] if len(end) == 2 else IRIS_SCHEMA["classes"]}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(LoadFailed, match="looks like probabilities, not like logits"):
        load(tmp_path)
    model = load(tmp_path, model_output="probabilities")
    found = model.predict(of_array(model.schema, IRIS.data)).probabilities
    with torch.inference_mode():
        offline = torch.nn.Sequential(*net, *end)(torch.from_numpy(IRIS.data.astype(np.float32))).numpy()
    assert np.abs(found[:, -1] - offline[:, -1]).max() < 1e-6


def test_logits_that_are_called_probabilities_are_refused(models: Path) -> None:
    with pytest.raises(LoadFailed, match="where probabilities were expected, which add up to 1"):
        load(models / "script", model_output="probabilities")


def test_an_onnx_model_with_an_input_for_each_column_gets_them_by_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["b", "a"], ["sum"])]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("b", "a")]
    made = helper.make_graph(nodes, "sum", inputs, [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])])
    model_file = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "model.onnx").write_bytes(model_file.SerializeToString())
    model = load(tmp_path)
    assert model.schema.names == ("b", "a")
    assert model.predict(of_rows(model.schema, [{"a": 1, "b": 2}, {"b": 0.5, "a": 1}])).values.tolist() == [3.0, 1.5]


def test_an_onnx_model_cannot_read_other_files(tmp_path: Path, models: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 256)
    made = onnx.load(models / "onnx" / "model.onnx")
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=str(tmp_path / "secret"))
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(LoadFailed, match=r"refused: the numbers of .* stand in another file"):
        load(tmp_path)


WRONG_CONFIGS: dict[str, tuple[Any, str]] = {
    "no layers": ({}, "layers: expected a list of 1 to 1000"),
    "unknown layer": ({"layers": [{"conv": [1, 2]}]}, r"layers\[0\]: expected one of linear"),
    "text for a number": ({"layers": [{"linear": ["4", 3]}]}, r"layers\[0\]: expected one of linear"),
    "a side too large": ({"layers": [{"linear": [4, 2**40]}]}, r"layers\[0\]"),
    "other sides": ({"layers": [{"linear": [4, 16]}, "relu", {"linear": [16, 2]}]}, r"does not fit the layers.*size mismatch"),
    "too few": ({"layers": [{"linear": [4, 16]}]}, "does not fit the layers.*Unexpected key"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_CONFIGS)
def test_layers_that_the_weights_do_not_fit_are_refused(what: str, models: Path, tmp_path: Path) -> None:
    config, words = WRONG_CONFIGS[what]
    shutil.copytree(models / "weights", tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(LoadFailed, match=words):
        load(tmp_path / "model")


def test_weights_with_nan_are_refused(models: Path, tmp_path: Path, net: torch.nn.Sequential) -> None:
    shutil.copytree(models / "weights", tmp_path / "model")
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state["2.bias"][1] = float("nan")
    save_file(state, tmp_path / "model" / "model.safetensors")
    with pytest.raises(LoadFailed, match=r"2\.bias contains NaN"):
        load(tmp_path / "model")


def test_a_model_that_takes_another_number_of_features_is_found_when_it_is_loaded(models: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "script", tmp_path / "model")
    short = {**IRIS_SCHEMA, "features": {"a": {"type": "number"}, "b": {"type": "number"}}}
    (tmp_path / "model" / "schema.json").write_text(json.dumps(short))
    with pytest.raises(LoadFailed, match="it does not predict a row of 2 features"):
        load(tmp_path / "model")


def test_a_torch_module_without_a_schema_says_what_is_missing(models: Path, tmp_path: Path) -> None:
    shutil.copy(models / "script" / "model.pt", tmp_path)
    with pytest.raises(LoadFailed, match=r"list them in schema\.json or with --column"):
        load(tmp_path)


def test_an_estimator_that_predicts_nothing_is_refused(tmp_path: Path) -> None:
    skops.io.dump(StandardScaler().fit(IRIS.data), tmp_path / "model.skops")
    with pytest.raises(LoadFailed, match="expected an estimator with predict, found StandardScaler"):
        load(tmp_path, trusted_type=(TREE,))


def numbered_categories() -> tuple[pandas.DataFrame, np.ndarray]:
    """Breast cancer with its size as one of 10, 20 and 30, which is no place in a list of three."""
    frame, target = mixed()
    sizes = frame["size"].map({"small": 10, "medium": 20, "large": 30})
    return pandas.DataFrame({"radius": frame["radius"], "size": sizes.astype("category")}), target


def test_categories_that_are_numbers_are_places_in_the_files_own_list(tmp_path: Path) -> None:
    frame, target = numbered_categories()
    options = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 5}
    booster = lightgbm.train(options, lightgbm.Dataset(frame, target), 10)
    booster.save_model(tmp_path / "model.txt")
    rows = [[row[0], int(row[1])] for row in frame.astype({"size": int}).to_numpy().tolist()]
    for columns in ((), ("radius=number", "size=number"), ("radius=number", "size=integer,enum=30|20|10")):
        model = load(tmp_path, column=columns)
        found = model.predict(of_rows(model.schema, rows))
        assert np.array_equal(found.probabilities[:, 1], booster.predict(frame))
        with pytest.raises(InvalidInput, match=r"row 0, column 'size': expected one of .*, found 15"):
            of_rows(model.schema, [[17.0, 15]])
    with pytest.raises(LoadFailed, match="column 'size': the model was not trained on 40, which enum has"):
        load(tmp_path, column=("radius=number", "size=integer,enum=10|20|40"))
    with pytest.raises(
        LoadFailed, match="column 'size', with the categories of the model: expected values of type string"
    ):
        load(tmp_path, column=("radius=number", "size=string"))


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_categories_of_xgboost_are_those_of_its_file(booster: str, tmp_path: Path) -> None:
    frame, target = numbered_categories()
    frame["word"] = mixed()[0]["size"].astype("category")
    options = {"objective": "binary:logistic", "nthread": 1, "booster": booster}
    trained = xgboost.train(options, xgboost.DMatrix(frame, target, enable_categorical=True), 5)
    trained.save_model(tmp_path / "model.ubj")
    model = load(tmp_path)
    assert [one.enum for one in model.schema.features] == [None, (10, 20, 30), ("large", "medium", "small")]
    rows = of_rows(model.schema, frame.astype({"size": object, "word": object}).to_numpy().tolist())
    found = model.predict(rows).probabilities[:, 1]
    assert np.array_equal(found, trained.predict(xgboost.DMatrix(frame, enable_categorical=True)))


def test_numbers_for_categories_that_an_xgboost_file_does_not_list_are_refused(tmp_path: Path) -> None:
    codes = np.digitize(CANCER.data[:, 3], [450, 800]).astype(float)
    matrix = xgboost.DMatrix(codes[:, None], CANCER.target, feature_types=["c"], enable_categorical=True)
    trained = xgboost.train({"objective": "binary:logistic", "nthread": 1}, matrix, 5)
    trained.save_model(tmp_path / "model.ubj")
    with pytest.raises(LoadFailed, match=r"column 'size': the model counts categories from 0 .* enum of strings"):
        load(tmp_path, column=("size=integer,enum=10|20|30",))
    for column, rows in (
        ("size=integer,enum=0|1|2", codes),
        ("size=string,enum=s|m|l", np.array(["s", "m", "l"])[codes.astype(int)]),
    ):
        model = load(tmp_path, column=(column,))
        found = model.predict(of_rows(model.schema, rows[:, None].tolist())).probabilities[:, 1]
        assert np.array_equal(found, trained.predict(matrix))


def words(missing: Any = np.nan, **options: Any) -> tuple[Any, pandas.DataFrame]:
    """A pipeline that puts the commonest size in the place of one that is missing, and its frame."""
    frame, target = mixed()
    frame = frame[["size", "radius"]].copy()
    frame.loc[::7, "size"] = missing
    encode = make_pipeline(SimpleImputer(strategy="most_frequent", missing_values=missing), OneHotEncoder(**options))
    columns = make_column_transformer((encode, ["size"]), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression(max_iter=2000)).fit(frame, target), frame


@pytest.mark.parametrize("options", [{}, {"handle_unknown": "ignore"}])
def test_a_missing_word_is_missing_to_the_pipeline_too(options: dict[str, Any], tmp_path: Path) -> None:
    pipeline, frame = words(**options)
    skops.io.dump(pipeline, tmp_path / "model.skops")
    model = load(tmp_path, column=("size=string,nullable", "radius=number"), trusted_type=("numpy.dtype",))
    rows = of_rows(model.schema, frame.astype(object).where(frame.notna(), None).to_numpy().tolist())
    assert None in rows.values[:, 0]
    assert np.allclose(model.predict(rows).probabilities, pipeline.predict_proba(frame), atol=1e-12)


@pytest.mark.parametrize("columns", [(), ("size=string", "radius=number")])
def test_a_word_that_the_encoder_does_not_know_is_refused_with_its_row_and_column(
    columns: tuple[str, ...], tmp_path: Path
) -> None:
    pipeline, _ = words(handle_unknown="ignore")
    skops.io.dump(pipeline, tmp_path / "model.skops")
    model = load(tmp_path, column=columns, trusted_type=("numpy.dtype",))
    with pytest.raises(InvalidInput, match="row 1, column 'size': expected one of large, medium, small, found 'huge'"):
        of_rows(model.schema, [["small", 12.0], ["huge", 12.0]])
    assert model.predict(of_rows(model.schema, [["small", 12.0]])).chosen.tolist() == [1]


def test_a_row_that_the_estimator_does_not_take_is_the_callers_mistake(tmp_path: Path) -> None:
    linear = LogisticRegression(max_iter=5000).fit(IRIS.data, IRIS.target)
    skops.io.dump(linear, tmp_path / "model.skops")
    model = load(tmp_path, column=("a=number,nullable", "b=number", "c=number", "d=number"))
    with pytest.raises(InvalidInput, match="the model does not take these rows: Input X contains NaN"):
        model.predict(of_rows(model.schema, [[None, 1, 2, 3]]))
