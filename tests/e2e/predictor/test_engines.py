"""Engines behind the real process: optimized ahead, chosen at the start, read from the cache at the next."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.timeout(600),  # exporters, on a busy machine
    pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"),
]
TENSOR = {"name": "image", "datatype": "FP32", "shape": [1, 3, 160, 160], "data": [0.25] * (3 * 160 * 160)}
INFER = {"inputs": [TENSOR], "outputs": [{"name": "logits"}]}


def parameters(predictor):
    config = predictor.get("/v2/models/cats/config").json()
    return {name: value["string_value"] for name, value in config["parameters"].items()}


def logits(predictor):
    (output,) = predictor.post("/v2/models/cats/infer", json=INFER).json()["outputs"]
    return np.array(output["data"])


def libraries(predictor):
    return Path(f"/proc/{predictor.process.pid}/maps").read_text()


def optimize(*words):
    return subprocess.run(
        [sys.executable, "-m", "moorage", "optimize", *map(str, words)], capture_output=True, text=True, check=False
    )


# Whether a network whose engine lies beside it is loaded without torch, which afterwards only resizes photos.
OPENED = """
import sys, threading
from pathlib import Path
from moorage_predictor.engine import network
network.load(Path(sys.argv[1]), architecture=None, sha256=None, report=lambda step: None, cancelled=threading.Event())
print("torch" in sys.modules)
"""


def test_an_optimized_folder_is_served_by_its_engine_without_torch_and_with_the_same_answers(
    start, tiny_model, tmp_path
):
    done = optimize(tiny_model, tmp_path / "ready", "--engine=openvino", "--precision=fp32", "--output=json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chosen"]["engine"] == "openvino"
    ready = start(model_dir=str(tmp_path / "ready")).until_ready()
    assert parameters(ready)["engine"] == "openvino"
    assert "libopenvino" in libraries(ready)
    opened = [sys.executable, "-c", OPENED, str(tmp_path / "ready")]
    assert subprocess.run(opened, capture_output=True, text=True, check=True).stdout == "False\n"
    plain = start(model_dir=str(tiny_model)).until_ready()
    assert (parameters(plain)["engine"], parameters(plain)["precision"]) == ("eager", "fp32")
    assert np.abs(logits(ready) - logits(plain)).max() < 1e-5 * np.abs(logits(plain)).max()


def test_int8_is_calibrated_once_and_read_from_the_cache_at_the_next_start(start, tiny_model, tmp_path):
    for turn in range(2):
        predictor = start(model_dir=str(tiny_model), precision="int8", engine_cache_dir=str(tmp_path)).until_ready()
        told = parameters(predictor)
        assert told["engine_calibration"].startswith("100 images generated from 3 photos")
        assert told["precision"] == "int8" or "openvino int8" in told["engine_dropped"]
        predictor.process.terminate()
        assert predictor.exit_code() == 0
        assert ("engine judged" in predictor.stderr()) == (turn == 0)


def test_weights_that_are_not_there_are_named(tmp_path):
    done = optimize(tmp_path / "none.pth", tmp_path / "out")
    assert done.returncode == 2
    assert f"{tmp_path / 'none.pth'}: no such file or folder" in done.stderr
