"""An ONNX file that names other files is refused before onnxruntime reads it, wherever in the model it names them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from moorage_predictor.engine import onnx_files
from moorage_predictor.errors import LoadFailed

SECRET = b"SECRETSECRETSECR"


def elsewhere(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[len(SECRET)], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": str(len(SECRET))}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(initializers: tuple[TensorProto, ...] = ()) -> onnx.ModelProto:
    kind, shape = TensorProto.UINT8, [len(SECRET)]
    graph = helper.make_graph(
        [helper.make_node("Max", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
        list(initializers) or [helper.make_tensor("w", kind, shape, list(SECRET))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_model_with_its_own_weights_is_opened(tmp_path: Path) -> None:
    onnx.save(model(), tmp_path / "m.onnx")
    session = onnx_files.session(tmp_path / "m.onnx", 1)
    assert session.run(None, {"x": np.zeros(len(SECRET), np.uint8)})[0].tobytes() == SECRET


@pytest.mark.parametrize(
    "location", ["secret.txt", "../{folder}/secret.txt", "{path}/secret.txt", "*/_ORT_MEM_ADDR_/*"]
)
def test_a_model_that_names_another_file_is_refused(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_bytes(SECRET)
    monkeypatch.chdir(tmp_path)
    hostile = model((elsewhere(location.format(folder=tmp_path.name, path=tmp_path)),))
    (tmp_path / "m.onnx").write_bytes(hostile.SerializeToString())
    with pytest.raises(LoadFailed, match="refused: the numbers of 'w' stand in another file"):
        onnx_files.session(tmp_path / "m.onnx", 1)


def test_onnxruntime_itself_would_have_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above tests something."""
    (tmp_path / "secret.txt").write_bytes(SECRET)
    monkeypatch.chdir(tmp_path)
    session = onnxruntime.InferenceSession(model((elsewhere("secret.txt"),)).SerializeToString())
    assert session.run(None, {"x": np.zeros(len(SECRET), np.uint8)})[0].tobytes() == SECRET


def deep(put: Callable[[onnx.ModelProto, onnx.GraphProto], None]) -> Callable[[onnx.ModelProto], None]:
    def run(made: onnx.ModelProto) -> None:
        put(made, onnx.GraphProto(name="inner", initializer=[elsewhere("secret.txt")]))

    return run


def constant() -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=elsewhere("secret.txt"))


def sparse() -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=elsewhere("secret.txt"), dims=[16])


PLACES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "a constant": lambda made: made.graph.node.append(constant()),
    "constants": lambda made: (
        made.graph.node.add(op_type="X").attribute.add(name="t", type=9).tensors.append(elsewhere("secret.txt"))
    ),
    "a sparse initializer": lambda made: made.graph.sparse_initializer.append(sparse()),
    "a sparse constant": lambda made: (
        made.graph.node.add(op_type="Constant").attribute.add(name="s", type=11).sparse_tensor.CopyFrom(sparse())
    ),
    "a branch": deep(
        lambda made, graph: (
            made.graph.node.add(op_type="If").attribute.add(name="then_branch", type=5).g.CopyFrom(graph)
        )
    ),
    "branches": deep(
        lambda made, graph: made.graph.node.add(op_type="X").attribute.add(name="g", type=10).graphs.append(graph)
    ),
    "a function": lambda made: made.functions.add(name="f", domain="d").node.append(constant()),
    "training": deep(lambda made, graph: made.training_info.add().algorithm.CopyFrom(graph)),
}


@pytest.mark.parametrize("place", PLACES)
def test_it_is_found_wherever_it_stands(place: str, tmp_path: Path) -> None:
    hostile = model()
    PLACES[place](hostile)
    (tmp_path / "m.onnx").write_bytes(hostile.SerializeToString())
    with pytest.raises(LoadFailed, match="refused: the numbers of 'w' stand in another file"):
        onnx_files.session(tmp_path / "m.onnx", 1)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x80\x04cos\nsystem\n"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(LoadFailed, match="not an ONNX model that onnxruntime can run"):
        onnx_files.session(tmp_path / "m.onnx", 1)
