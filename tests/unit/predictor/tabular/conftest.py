"""Small models of real tables, one of each kind of file, trained once for all tests here."""

import json
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skops.io
import torch
import xgboost
from onnx import TensorProto, helper
from safetensors.torch import save_file
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from moorage.api.predictor import PredictorSettings
from moorage_predictor.scaffolds.tabular import Boosted, iris_pipeline
from moorage_predictor.tasks.tabular import TabularModel
from moorage_predictor.tasks.tabular.load import load as load_model

IRIS, CANCER, DIABETES = load_iris(), load_breast_cancer(), load_diabetes()
IRIS_NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
IRIS_SCHEMA = {
    "features": {name: {"type": "number", "min": 0, "max": 30} for name in IRIS_NAMES},
    "classes": [str(name) for name in IRIS.target_names],
}
TREE = "sklearn.tree._tree.Tree"
LAYERS = [{"linear": [4, 16]}, "relu", {"linear": [16, 3]}]

Offline = Callable[[np.ndarray], np.ndarray]


def network() -> torch.nn.Sequential:
    """A net for iris, trained for a moment: its answers differ from row to row."""
    torch.manual_seed(3)
    made = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    rows, classes = torch.from_numpy(IRIS.data.astype(np.float32)), torch.from_numpy(IRIS.target)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(made(rows), classes).backward()
        optimizer.step()
    return made.eval()


def graph(net: torch.nn.Sequential) -> onnx.ModelProto:
    """The same net as ONNX: logits of rows."""
    first, _, last = net
    weights = {
        name: tensor.detach().numpy().T.copy() if tensor.ndim == 2 else tensor.detach().numpy()
        for name, tensor in {"w0": first.weight, "b0": first.bias, "w1": last.weight, "b1": last.bias}.items()
    }
    nodes = [
        helper.make_node("MatMul", ["rows", "w0"], ["m0"]),
        helper.make_node("Add", ["m0", "b0"], ["a0"]),
        helper.make_node("Relu", ["a0"], ["r0"]),
        helper.make_node("MatMul", ["r0", "w1"], ["m1"]),
        helper.make_node("Add", ["m1", "b1"], ["logits"]),
    ]
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="session")
def net() -> torch.nn.Sequential:
    return network()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, net: torch.nn.Sequential) -> Path:
    """A folder of folders."""
    root = tmp_path_factory.mktemp("tables")
    folders: dict[str, Path] = {}
    for name in (
        *("pipeline", "boosting", "forest", "histogram", "ridge"),
        *("xgboost-json", "xgboost-ubj", "lightgbm", "onnx", "exported", "script", "weights"),
    ):
        folders[name] = root / name
        folders[name].mkdir()
    skops.io.dump(iris_pipeline(IRIS.data, IRIS.target), folders["pipeline"] / "model.skops")
    boosting = GradientBoostingClassifier(n_estimators=20, random_state=0).fit(CANCER.data, CANCER.target)
    skops.io.dump(boosting, folders["boosting"] / "model.skops")
    forest = RandomForestClassifier(10, max_depth=4, random_state=0).fit(IRIS.data, IRIS.target)
    skops.io.dump(forest, folders["forest"] / "model.skops")
    histogram = HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(CANCER.data, CANCER.target)
    skops.io.dump(histogram, folders["histogram"] / "model.skops")
    ridge = make_pipeline(StandardScaler(), Ridge()).fit(DIABETES.data, DIABETES.target)
    skops.io.dump(ridge, folders["ridge"] / "model.skops")
    booster = xgboost.train(
        {"objective": "multi:softprob", "num_class": 3, "nthread": 1, "max_depth": 3},
        xgboost.DMatrix(IRIS.data, IRIS.target),
        10,
    )
    booster.save_model(folders["xgboost-json"] / "model.json")
    booster.save_model(folders["xgboost-ubj"] / "model.ubj")
    trees = Boosted(CANCER.data, CANCER.target, [str(name).replace(" ", "_") for name in CANCER.feature_names])
    trees.booster.save_model(folders["lightgbm"] / "model.txt")
    (folders["onnx"] / "model.onnx").write_bytes(graph(net).SerializeToString())
    rows = torch.zeros(2, 4)
    exported = torch.export.export(net, (rows,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=4096)},))
    torch.export.save(exported, folders["exported"] / "model.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have the above
        torch.jit.trace(net, rows).save(str(folders["script"] / "model.pt"))
    save_file(net.state_dict(), folders["weights"] / "model.safetensors")
    (folders["weights"] / "config.json").write_text(json.dumps({"layers": LAYERS}))
    for name in ("pipeline", "forest", "xgboost-json", "xgboost-ubj", "onnx", "exported", "script", "weights"):
        (folders[name] / "schema.json").write_text(json.dumps(IRIS_SCHEMA))
    return root


def load(path: Path, **changes: Any) -> TabularModel:
    """As the predictor does; scikit-learn's trees are trusted."""
    settings = PredictorSettings(task="tabular", model_dir=str(path), **{"trusted_type": (TREE,), **changes})
    return load_model(settings, path, lambda step: None, threading.Event())


def histogram_types() -> tuple[str, ...]:
    return (TREE, "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
