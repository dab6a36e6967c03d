"""`moor init tabular`, and both of its models in one real server: the same answers and reasons over every protocol as offline."""

import json
import re
import shutil

import grpc
import lightgbm
import numpy as np
import pytest
import skops.io
import yaml
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from sklearn.datasets import load_breast_cancer, load_iris
from tests.e2e.predictor.conftest import Predictor
from tests.e2e.up.test_up import moor, ports

IRIS, CANCER = load_iris(), load_breast_cancer()
MARGIN = 1e-6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, and what the command said."""
    folder = tmp_path_factory.mktemp("init") / "tables"
    done = moor("init", "tabular", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def server(made, tmp_path_factory):
    """Both, as versions 1 in one repository."""
    repository = tmp_path_factory.mktemp("repository")
    for name in ("iris", "breast-cancer"):
        shutil.copytree(made[0] / name, repository / name / "1")
    predictor = Predictor(task="tabular", model_repository=str(repository), preload=("all",))
    try:
        predictor.until("/v2/health/ready")
        yield predictor
    finally:
        predictor.close()


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel)


def names(made, model):
    return list(json.loads((made[0] / model / "schema.json").read_text())["features"])


def offline(made, model, rows):
    """Probabilities by the library alone."""
    if model == "iris":
        return skops.io.load(made[0] / "iris" / "model.skops").predict_proba(rows)
    positive = lightgbm.Booster(model_file=made[0] / "breast-cancer" / "model.txt").predict(rows)
    return np.column_stack([1 - positive, positive])


def test_it_says_how_good_the_models_are_and_what_comes_next(made):
    folder, said = made
    measured = dict(re.findall(r"^(iris|breast-cancer): accuracy (0\.\d+), the mean of 5 folds$", said, re.MULTILINE))
    assert float(measured["iris"]) >= 0.9
    assert float(measured["breast-cancer"]) >= 0.95
    for name in measured:
        assert f"  moor up {folder}/{name}.yaml --model-root {folder}/{name}" in said.splitlines()
        assert yaml.safe_load((folder / f"{name}.yaml").read_text())["spec"]["model"]["task"] == "tabular"


@pytest.mark.parametrize(("model", "data"), [("iris", IRIS), ("breast-cancer", CANCER)], ids=["iris", "breast-cancer"])
def test_every_protocol_gives_what_the_library_gives_offline(server, stub, made, model, data):
    rows = data.data[::9]
    expected = offline(made, model, rows)
    columns = dict(zip(names(made, model), rows.T, strict=True))

    v1 = server.post(f"/v1/models/{model}:predict", json={"instances": rows.tolist()}).json()["predictions"]
    assert [one["probabilities"] for one in v1] == expected.tolist()
    assert [one["label"] for one in v1] == [str(data.target_names[number]) for number in expected.argmax(axis=1)]

    inputs = [{"name": n, "datatype": "FP64", "shape": [len(rows)], "data": c.tolist()} for n, c in columns.items()]
    v2 = server.post(f"/v2/models/{model}/infer", json={"inputs": inputs}).json()["outputs"]
    assert {one["name"]: one["data"] for one in v2}["probabilities"] == expected.ravel().tolist()

    head = json.dumps(
        {
            "inputs": [{"name": "rows", "datatype": "FP64", "shape": list(rows.shape),
                        "parameters": {"binary_data_size": rows.nbytes}}],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
    ).encode()  # fmt: skip
    binary = server.post(
        f"/v2/models/{model}/infer",
        content=head + np.ascontiguousarray(rows).tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    length = int(binary.headers["Inference-Header-Content-Length"])
    assert np.frombuffer(binary.content[length:], "<f8").tolist() == expected.ravel().tolist()

    request = pb.ModelInferRequest(
        model_name=model,
        inputs=[{"name": n, "datatype": "FP64", "shape": [len(rows)]} for n in reversed(columns)],
        raw_input_contents=[columns[n].astype("<f8").tobytes() for n in reversed(columns)],
    )
    answer = stub.ModelInfer(request)
    raw = dict(zip((one.name for one in answer.outputs), answer.raw_output_contents, strict=True))
    assert np.frombuffer(raw["probabilities"], "<f8").tolist() == expected.ravel().tolist()


@pytest.mark.parametrize(("model", "data"), [("iris", IRIS), ("breast-cancer", CANCER)], ids=["iris", "breast-cancer"])
def test_reasons_add_up_over_every_protocol(server, stub, model, data):
    rows = data.data[::20][:20]
    explained = server.post(f"/v1/models/{model}:explain", json={"instances": rows.tolist()}).json()["explanations"]
    for one in explained:
        reasons = one["explanation"]
        assert abs(reasons["base_value"] + sum(reasons["shap_values"]) - reasons["output"]) < MARGIN
        assert reasons["space"] == "margin"
        assert len(reasons["top_features"]) == min(5, rows.shape[1])
    request = pb.ModelInferRequest(
        model_name=model,
        inputs=[
            {"name": "rows", "datatype": "FP64", "shape": list(rows.shape), "contents": {"fp64_contents": rows.ravel()}}
        ],
        parameters={"explain": pb.InferParameter(bool_param=True)},
    )
    found = {one.name: one for one in stub.ModelInfer(request).outputs}
    values = np.array(found["shap_values"].contents.fp64_contents).reshape(rows.shape)
    assert values.tolist() == [one["explanation"]["shap_values"] for one in explained]
    best = [item.decode() for item in found["top_features"].contents.bytes_contents]
    assert best == [item["feature"] for one in explained for item in one["explanation"]["top_features"]]


def test_a_wrong_value_is_told_with_row_and_column_over_every_protocol(server, stub):
    rows = IRIS.data[:3].copy()
    rows[2, 1] = 99
    words = "row 2, column 'sepal_width': expected a number from 0 to 30, found 99.0"
    v1 = server.post("/v1/models/iris:predict", json={"instances": rows.tolist()})
    assert (v1.status_code, v1.json()) == (400, {"error": words, "code": "INVALID_ARGUMENT"})
    tensor = {"name": "rows", "datatype": "FP64", "shape": [3, 4]}
    v2 = server.post("/v2/models/iris/infer", json={"inputs": [{**tensor, "data": rows.ravel().tolist()}]})
    assert (v2.status_code, v2.json()["error"]) == (400, f"rows: {words}")
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(
            pb.ModelInferRequest(model_name="iris", inputs=[tensor], raw_input_contents=[rows.astype("<f8").tobytes()])
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == f"rows: {words}"


def test_moor_up_shows_why(made):
    folder, _ = made
    done = moor("up", folder / "breast-cancer.yaml", "--model-root", folder / "breast-cancer", "--once", *ports())
    assert done.returncode == 0, done.stderr
    assert re.search(r"^(malignant|benign)  [01]\.\d{4} \((low|medium|high)\) *$", done.stdout, re.MULTILINE)
    assert "adds to the margin of benign" in done.stdout
    assert "25 others" in done.stdout
    assert "/v1/models/breast-cancer:explain" in done.stdout
