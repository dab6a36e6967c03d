"""The tabular task behind V1 and V2, in process."""

import asyncio
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.predictor.served import InProcess

from moorage.api.predictor import PredictorSettings
from moorage_predictor.tasks.tabular.table import Table
from moorage_predictor.wire.tabular import TableModel

from .conftest import CANCER, IRIS, IRIS_NAMES, load

ROWS = IRIS.data[[0, 60, 120]].tolist()


def served(path: Path, **changes: Any) -> TableModel:
    settings = PredictorSettings(task="tabular", model_dir=str(path), model_name="cats", **changes)
    return TableModel(load(path, **changes), settings)


@pytest.fixture
async def iris(models: Path) -> InProcess:
    return InProcess(served(models / "pipeline"))


def objects(rows: list[list[float]]) -> list[dict[str, float]]:
    return [dict(zip(IRIS_NAMES, row, strict=True)) for row in rows]


def columns(rows: list[list[float]], datatype: str = "FP64") -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": datatype, "shape": [len(rows)], "data": list(column)}
        for name, column in zip(IRIS_NAMES, zip(*rows, strict=True), strict=True)
    ]


def outputs(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {one["name"]: np.array(one["data"]).reshape(one["shape"]) for one in answer.json()["outputs"]}


async def test_rows_objects_and_columns_get_the_same_answer_over_v1(iris: InProcess) -> None:
    bodies = (
        {"instances": ROWS},
        {"instances": objects(ROWS)},
        {"inputs": ROWS},
        {
            "inputs": {
                name: list(column)
                for name, column in reversed(list(zip(IRIS_NAMES, zip(*ROWS, strict=True), strict=True)))
            }
        },
    )
    answers = [(await iris.post("/v1/models/cats:predict", json=body)).json() for body in bodies]
    assert all(answer == answers[0] for answer in answers)
    first = answers[0]["predictions"][0]
    assert list(first) == ["prediction", "label", "probability", "probabilities", "confidence", "confidence_level"]
    assert (first["prediction"], first["label"], first["confidence_level"]) == (0, "setosa", "high")
    assert sum(first["probabilities"]) == pytest.approx(1)
    assert first["confidence"] == first["probability"] == max(first["probabilities"])


async def test_v2_gives_what_v1_gives_for_columns_and_for_rows(iris: InProcess) -> None:
    predictions = (await iris.post("/v1/models/cats:predict", json={"instances": ROWS})).json()["predictions"]
    rows = {"name": "anything", "datatype": "FP64", "shape": [3, 4], "data": ROWS}
    for inputs in (columns(ROWS), columns(ROWS)[::-1], [rows]):
        found = outputs(await iris.infer(*inputs))
        assert found["label"].tolist() == [one["label"] for one in predictions]
        assert found["prediction"].tolist() == [one["prediction"] for one in predictions]
        assert found["probabilities"].tolist() == [one["probabilities"] for one in predictions]
        assert found["confidence_level"].tolist() == [one["confidence_level"] for one in predictions]


async def test_of_two_classes_the_probability_is_the_seconds(models: Path) -> None:
    model = InProcess(served(models / "lightgbm"))
    body = {"instances": CANCER.data[:20].tolist()}
    for one in (await model.post("/v1/models/cats:predict", json=body)).json()["predictions"]:
        assert one["probability"] == one["probabilities"][1]
        assert one["confidence"] == max(one["probabilities"])


async def test_a_regression_has_a_prediction_alone(models: Path) -> None:
    model = InProcess(served(models / "ridge"))
    row = [[0.01] * 10]
    (v1,) = (await model.post("/v1/models/cats:predict", json={"instances": row})).json()["predictions"]
    found = outputs(await model.infer({"name": "rows", "datatype": "FP64", "shape": [1, 10], "data": row}))
    assert list(v1) == list(found) == ["prediction"]
    assert found["prediction"][0] == v1["prediction"]


async def test_the_metadata_has_the_columns_by_name_or_one_input_of_rows(models: Path, iris: InProcess) -> None:
    told = (await iris.get("/v2/models/cats")).json()
    assert told["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1]} for name in IRIS_NAMES]
    assert {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]} in told["outputs"]
    nameless = InProcess(served(models / "ridge"))
    told = (await nameless.get("/v2/models/cats")).json()
    assert told["inputs"] == [{"name": "rows", "datatype": "FP64", "shape": [-1, 10]}]


async def test_the_sample_in_the_configuration_is_a_row_that_can_be_asked(iris: InProcess) -> None:
    parameters = (await iris.get("/v2/models/cats/config")).json()["parameters"]
    row = json.loads(parameters["sample"]["string_value"])
    assert (await iris.post("/v1/models/cats:predict", json={"instances": [row]})).status_code == 200
    assert parameters["format"]["string_value"] == "skops"
    stated = json.loads(parameters["feature_schema"]["string_value"])
    assert stated["petal_width"] == {"type": "number", "min": 0, "max": 30, "nullable": False, "unseen": "refuse"}
    assert json.loads(parameters["classes"]["string_value"]) == ["setosa", "versicolor", "virginica"]


async def test_no_row_of_the_background_is_told(models: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(models / "pipeline", tmp_path / "pipeline")
    canary = ["12.0625", "13.0625", "14.0625", "15.0625"]
    (folder / "background.csv").write_text("\n".join([",".join(IRIS_NAMES), *[",".join(canary)] * 3]))
    told = (await InProcess(served(folder)).get("/v2/models/cats/config")).text
    assert not [value for value in canary if value in told]
    row = json.loads(json.loads(told)["parameters"]["sample"]["string_value"])
    assert row == dict.fromkeys(IRIS_NAMES, 15.0)


async def test_reasons_come_with_explain_and_with_the_parameter(iris: InProcess) -> None:
    body = {"instances": ROWS, "parameters": {"top": 2}}
    explanations = (await iris.post("/v1/models/cats:explain", json=body)).json()["explanations"]
    found = outputs(await iris.infer(*columns(ROWS), parameters={"explain": True, "top": 2}))
    for number, one in enumerate(explanations):
        reasons = one["explanation"]
        assert reasons["base_value"] + sum(reasons["shap_values"]) == pytest.approx(reasons["output"], abs=1e-6)
        assert reasons["class"] == one["label"]
        best = sorted(
            zip(reasons["shap_values"], IRIS_NAMES, ROWS[number], strict=True), key=lambda item: -abs(item[0])
        )[:2]
        assert reasons["top_features"] == [
            {"feature": name, "importance": value, "value": given} for value, name, given in best
        ]
        assert found["shap_values"][number].tolist() == reasons["shap_values"]
        assert found["top_features"][number].tolist() == [name for _, name, _ in best]
        assert found["base_value"][number] == reasons["base_value"]
        assert found["explained_output"][number] == reasons["output"]


async def test_an_output_that_explains_may_be_asked_for_by_name(iris: InProcess) -> None:
    answer = await iris.infer(*columns(ROWS), outputs=[{"name": "top_importances"}, {"name": "label"}])
    assert list(outputs(answer)) == ["top_importances", "label"]
    assert outputs(answer)["top_importances"].shape == (3, 4)
    assert answer.json()["parameters"] == {"space": "margin", "method": "linear, exact"}
    assert "shap_values" not in outputs(await iris.infer(*columns(ROWS)))


async def test_the_classification_extension_names_the_classes(iris: InProcess) -> None:
    wanted = [{"name": "probabilities", "parameters": {"classification": 1}}]
    found = outputs(await iris.infer(*columns(ROWS), outputs=wanted))
    assert [text.split(":")[2] for text in found["probabilities"].ravel()] == ["setosa", "versicolor", "virginica"]


BAD_V1: dict[str, tuple[Any, str]] = {
    "no rows": ({"instances": []}, "rows, found 0"),
    "scalars": ({"instances": [1, 2]}, "row 0: expected a list of 4 values or an object"),
    "text": ({"instances": "x"}, "instances: expected a list"),
    "scalar columns": ({"inputs": {"sepal_length": 1}}, "column 'sepal_length': expected a list"),
    "no columns": ({"inputs": {}}, "rows, found 0"),
    "a value in words": (
        {"instances": [["a", 1, 1, 1]]},
        "row 0, column 'sepal_length': expected a number from 0 to 30",
    ),
}


@pytest.mark.parametrize("what", BAD_V1)
async def test_a_bad_body_is_answered_with_400_in_words(what: str, iris: InProcess) -> None:
    body, words = BAD_V1[what]
    for verb in ("predict", "explain"):
        answer = await iris.post(f"/v1/models/cats:{verb}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_ARGUMENT")
        assert words in answer.json()["error"]


async def test_bad_tensors_and_parameters_are_answered_with_400_in_words(iris: InProcess) -> None:
    three = {"name": "x", "datatype": "FP32", "shape": [3, 3], "data": [0] * 9}
    text = {"name": "x", "datatype": "BYTES", "shape": [1, 4], "data": ["1"] * 4}
    empty = {"name": "x", "datatype": "FP64", "shape": [0, 4], "data": []}
    wide = {**columns(ROWS)[0], "shape": [1, 3]}
    cases = {
        "column 'foo': unknown": [*columns(ROWS), {**columns(ROWS)[0], "name": "foo"}],
        "column 'petal_width': missing": columns(ROWS)[:3],
        "expected all of one length": [*columns(ROWS)[:3], *columns(ROWS[:2])[3:]],
        "x: expected shape [n, 4], a row for each object, found [3, 3]": [three],
        "row 0, column 'sepal_length': expected a number from 0 to 30, found '1'": [text],
        "column 'sepal_length': expected shape [n] or [n, 1]": [wide, *columns(ROWS)[1:]],
        "expected 1 to 10000 rows, found 0": [empty],
    }
    for words, inputs in cases.items():
        answer = await iris.infer(*inputs)
        assert answer.status_code == 400, words
        assert words in answer.json()["error"]
    for parameters, words in (
        ({"explain": 1}, "parameters.explain: expected true or false"),
        ({"top": 0}, "parameters.top"),
    ):
        answer = await iris.infer(*columns(ROWS), parameters=parameters)
        assert answer.status_code == 400
        assert words in answer.json()["error"]
    answer = await iris.infer(*columns(ROWS), outputs=[{"name": "logits"}])
    assert "expected some of prediction, label" in answer.json()["error"]


async def test_more_rows_than_the_limit_are_refused(models: Path) -> None:
    model = InProcess(served(models / "pipeline", max_rows=5, max_explained_rows=2))
    assert (await model.post("/v1/models/cats:predict", json={"instances": ROWS[:1] * 5})).status_code == 200
    answers = [
        await model.post("/v1/models/cats:predict", json={"instances": ROWS[:1] * 6}),
        await model.post("/v1/models/cats:explain", json={"instances": ROWS[:1] * 3}),
        await model.infer(*columns(ROWS[:1] * 3), parameters={"explain": True}),
    ]
    assert [answer.status_code for answer in answers] == [400] * 3
    assert answers[0].json()["error"] == "instances: expected 1 to 5 rows, found 6"


async def test_a_million_rows_are_refused_at_once(iris: InProcess) -> None:
    answer = await iris.post(
        "/v1/models/cats:predict", content=b'{"instances":[' + b"[1,1,1,1]," * 999_999 + b"[1,1,1,1]]}"
    )
    assert answer.status_code in (400, 413)


async def test_many_explained_rows_are_worked_on_a_few_at_a_time(iris: InProcess) -> None:
    rows = IRIS.data[:30].tolist()
    together = (await iris.post("/v1/models/cats:explain", json={"instances": rows})).json()["explanations"]
    alone = [(await iris.post("/v1/models/cats:explain", json={"instances": [row]})).json() for row in rows]
    for one, answer in zip(together, alone, strict=True):
        (same,) = answer["explanations"]
        assert one["explanation"]["shap_values"] == pytest.approx(same["explanation"]["shap_values"], abs=1e-12)
        assert one["label"] == same["label"]


async def test_more_requests_than_may_wait_are_told_to_come_again(models: Path) -> None:
    model = InProcess(served(models / "pipeline", max_queue_size=3), max_pending=100)
    body = {"instances": IRIS.data.tolist()}
    answers = await asyncio.gather(*[model.post("/v1/models/cats:predict", json=body) for _ in range(10)])
    assert {answer.status_code for answer in answers} == {200, 503}
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["code"] == "SERVER_OVERLOADED"
    assert "retry-after" in refused.headers


async def test_requests_share_calls_and_get_their_own_rows(models: Path) -> None:
    settings = PredictorSettings(task="tabular", model_dir=str(models / "pipeline"), model_name="cats")
    loaded = load(models / "pipeline")
    predict, batches = loaded.predict, []

    def counted(table: Table) -> Any:
        batches.append(len(table))
        return predict(table)

    loaded.predict = counted  # type: ignore[method-assign]
    model = InProcess(TableModel(loaded, settings))
    bodies = [{"instances": IRIS.data[start : start + 1 + start % 3].tolist()} for start in range(0, 60, 2)]
    alone = [(await model.post("/v1/models/cats:predict", json=body)).json() for body in bodies]
    batches.clear()
    asked = [model.post("/v1/models/cats:predict", json=body) for body in bodies]
    poison = model.post("/v1/models/cats:predict", json={"instances": [[1, 2, 3, "x"]]})
    *together, refused = await asyncio.gather(*asked, poison)
    assert refused.status_code == 400
    for one, answer in zip(alone, together, strict=True):
        for left, right in zip(one["predictions"], answer.json()["predictions"], strict=True):
            assert left["probabilities"] == pytest.approx(right["probabilities"], abs=1e-12)
    assert len(batches) < len(bodies) / 2
    assert sum(batches) == sum(len(body["instances"]) for body in bodies)
    assert max(batches) <= 64


async def test_an_explanation_shares_no_call_and_keeps_no_prediction_waiting(models: Path) -> None:
    settings = PredictorSettings(task="tabular", model_dir=str(models / "pipeline"), model_name="cats")
    model = load(models / "pipeline")
    explain, entered, go = model.explain, asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def slow(table: Table) -> Any:
        seen.append(len(table))
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        return explain(table)

    model.explain = slow  # type: ignore[method-assign]
    behind = InProcess(TableModel(model, settings))
    first = asyncio.ensure_future(behind.post("/v1/models/cats:explain", json={"instances": ROWS[:1]}))
    await entered.wait()
    second = asyncio.ensure_future(behind.post("/v1/models/cats:explain", json={"instances": ROWS}))
    assert (await behind.post("/v1/models/cats:predict", json={"instances": ROWS})).status_code == 200
    go.set()
    assert [answer.status_code for answer in await asyncio.gather(first, second)] == [200, 200]
    assert seen == [1, 3]


async def test_a_missing_value_is_null_in_its_reasons(models: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(models / "xgboost-json", tmp_path / "model")
    features = {name: {"type": "number", "nullable": True} for name in IRIS_NAMES}
    (tmp_path / "model" / "schema.json").write_text(json.dumps({"features": features}))
    model = InProcess(served(tmp_path / "model"))
    answer = await model.post("/v1/models/cats:explain", json={"instances": [{"petal_length": 1.4}]})
    (one,) = answer.json()["explanations"]
    told = {item["feature"]: item["value"] for item in one["explanation"]["top_features"]}
    assert told == {"petal_length": 1.4, "petal_width": None, "sepal_length": None, "sepal_width": None}
    nan = [{**column, "data": [1.4 if column["name"] == "petal_length" else math.nan]} for column in columns(ROWS[:1])]
    raw = {one["name"]: np.array(one["data"]) for one in nan}
    from tests.unit.predictor.served import request_of

    response = await served(tmp_path / "model").predict(request_of(**raw))
    assert response.outputs[2].data[0].tolist() == one["probabilities"]
