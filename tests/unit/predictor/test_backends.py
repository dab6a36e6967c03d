"""Every engine answers as the module does: from several threads, for any number of rows, on as many cores as told."""

import copy
import importlib.util
import threading

import numpy as np
import pytest
import timm
import torch

from moorage_predictor.engine.backend import Unavailable
from moorage_predictor.engine.backends import aot, compiled, onnxruntime, openvino
from moorage_predictor.engine.precision import missing

pytestmark = pytest.mark.timeout(300)  # compilers and exporters, on a busy machine

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
needs_onnxruntime = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="ONNX Runtime is not installed"
)


class Small(torch.nn.Module):
    """Quick to compile."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.norm = torch.nn.BatchNorm2d(8)
        self.second = torch.nn.Conv2d(8, 8, 3)
        self.last = torch.nn.Linear(8, 10)

    def forward(self, images):
        features = self.second(torch.relu(self.norm(self.first(images))))
        return self.last(features.mean(dim=(2, 3)))


def network(name):
    torch.manual_seed(5)
    module = Small() if name == "small" else timm.create_model(name, num_classes=10)
    return module.eval().requires_grad_(False)


def images(count=8):
    return np.random.default_rng(3).standard_normal((count, 3, 160, 160), dtype=np.float32)


def expected(module, batch):
    with torch.inference_mode():
        return module(torch.from_numpy(batch)).numpy()


def furthest(found, right):
    return np.abs(found - right).max() / np.abs(right).max()


def opened(engine, name, kind, folder):
    module = network(name)
    engine.export(copy.deepcopy(module), images(1), folder, kind, images(16))
    return engine.open_files(folder, kind), expected(module, images())


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        pytest.param(openvino, "test_resnet", marks=needs_openvino),
        pytest.param(openvino, "test_vit", marks=needs_openvino),
        pytest.param(onnxruntime, "test_resnet", marks=needs_onnxruntime),
        pytest.param(onnxruntime, "test_vit", marks=needs_onnxruntime),
        (aot, "small"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.NAME,
)
def test_fp32_answers_are_those_of_the_module(engine, name, tmp_path):
    backend, right = opened(engine, name, "fp32", tmp_path)
    batch = images()
    for rows, threads in ((8, None), (1, None), (3, 1), (1, 1), (8, 2)):
        assert furthest(backend.forward(batch[:rows], threads), right[:rows]) < 1e-5
    wrong = []

    def call(row):
        for _ in range(5):
            if furthest(backend.forward(batch[row : row + 1], 1 + row % 2), right[row : row + 1]) > 1e-5:
                wrong.append(row)

    threads = [threading.Thread(target=call, args=(row,)) for row in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert backend.describe() == {"engine": engine.NAME, "precision": "fp32", "device": "cpu"}


@needs_openvino
@pytest.mark.parametrize(("kind", "tolerance"), [("bf16", 5e-2), ("int8", 2e-1)])
def test_openvino_answers_near_the_module_in_fewer_bits(kind, tolerance, tmp_path):
    if reason := missing(kind, "cpu"):
        pytest.skip(reason)
    backend, right = opened(openvino, "test_resnet", kind, tmp_path)
    found = backend.forward(images())
    assert found.dtype == np.float32
    assert furthest(found, right) < tolerance


@needs_openvino
def test_int8_needs_images_to_calibrate_with(tmp_path):
    with pytest.raises(ValueError, match="expected images to calibrate int8 with"):
        openvino.export(network("small"), images(1), tmp_path, "int8", None)


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_the_compiled_module_answers_as_the_module_does(kind):
    module = network("small")
    right = expected(module, images())
    backend = compiled.make(copy.deepcopy(module), kind, images(1))
    for rows, threads in ((8, None), (1, None), (3, 1)):
        assert furthest(backend.forward(images()[:rows], threads), right[:rows]) < (1e-5 if kind == "fp32" else 5e-2)


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: compiled.make(network("small"), "fp32", images(1)),
        lambda folder: aot.export(network("small"), images(1), folder, "fp32", None),
    ],
    ids=["compile", "aot"],
)
def test_without_a_compiler_the_reason_is_told_and_nothing_is_compiled(use, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        Unavailable, match=r"no C\+\+ compiler in the PATH \(looked for g\+\+, clang\+\+\): install g\+\+"
    ):
        use(tmp_path)


@pytest.mark.parametrize("engine", [openvino, onnxruntime], ids=lambda engine: engine.NAME)
def test_an_engine_that_is_not_installed_says_what_to_install(engine, tmp_path, monkeypatch):
    for name in ("openvino", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(Unavailable, match=rf"pip install 'moorage\[{engine.NAME}\]'"):
        engine.export(network("small"), images(1), tmp_path, "fp32", None)
    with pytest.raises(Unavailable, match=rf"pip install 'moorage\[{engine.NAME}\]'"):
        engine.open_files(tmp_path, "fp32")
