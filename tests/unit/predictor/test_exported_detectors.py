"""Exported models with raw YOLO output: what is found is the same in each format, and what is no such model is refused."""

import json
import os
import threading
import zipfile
from importlib.util import find_spec

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from tests.unit.predictor.detectors import (
    NAMES,
    SIDE,
    Marks,
    torchvision_model,
    write_onnx,
    write_program,
    write_script,
)
from torch import nn

from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.image_classification import PixelImages
from moorage_predictor.tasks.object_detection import load as loading
from moorage_predictor.tasks.object_detection import ultralytics_detectors
from moorage_predictor.tasks.object_detection.options import Options

WRITERS = {"onnx": write_onnx, "torchscript": write_script, "torch.export": write_program}


@pytest.fixture
def load():
    def run(path, **changes):
        settings = PredictorSettings(task="object-detection", model_dir=str(path), **changes)
        return loading.load(settings, path, lambda step: None, threading.Event())

    return run


@pytest.fixture(params=WRITERS)
def folder(request, tmp_path):
    WRITERS[request.param](tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join(NAMES))
    (tmp_path / "config.json").write_text(json.dumps({"input_size": [SIDE, SIDE]}))
    return tmp_path


def pictures():
    """One with a red and a green mark at 8x8 places, one with a blue one."""
    pixels = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    pixels[0, 8:16, 16:24, 0] = 230
    pixels[0, 40:48, 40:48, 1] = 200
    pixels[1, 24:32, 0:8, 2] = 255
    return PixelImages(pixels)


def test_each_format_finds_the_same(folder, load):
    first, second = load(folder)(pictures())
    assert first.class_id.tolist() == [0, 1]
    assert first.boxes.tolist() == [[12, 4, 28, 20], [36, 36, 52, 52]]
    assert first.scores == pytest.approx([230 / 255, 200 / 255], abs=1e-6)
    assert second.boxes.tolist() == [[0, 20, 12, 36]]  # cut at the border
    assert second.class_id.tolist() == [2]


def test_pictures_run_together_and_alone_alike(folder, load):
    detector = load(folder)
    inputs = pictures()
    rows = [(detector.prepare(inputs, index), Options()) for index in range(2)]
    for together, alone in zip(detector.forward(rows, 1), detector(inputs), strict=True):
        assert np.array_equal(together.boxes, alone.boxes)
        assert np.array_equal(together.scores, alone.scores)


def test_a_model_for_one_picture_at_a_time_says_so(tmp_path, load):
    write_onnx(tmp_path, rows=1)
    detector = load(tmp_path)
    assert detector.network.most_rows == 1
    assert len(detector(pictures())) == 2


def test_names_stand_in_the_file_itself(tmp_path, load):
    write_onnx(tmp_path, names="{0: 'circle', 1: 'square', 2: 'triangle'}", imgsz="[64, 64]", task="detect")
    assert load(tmp_path).names == NAMES
    (tmp_path / "model.onnx").unlink()
    words = {"names": {"0": "a", "1": "b", "2": "c"}, "imgsz": [SIDE, SIDE]}
    write_script(tmp_path, **{"config.txt": json.dumps(words)})
    assert load(tmp_path).names == ("a", "b", "c")
    (tmp_path / "labels.txt").write_text("x\ny\nz\n")
    assert load(tmp_path).names == ("x", "y", "z")


@pytest.mark.parametrize("text", ["{0: 'a', 2: 'b', 3: 'c'}", "__import__('os')", "[" * 10_000, "{'x': 'a'}", "7", ""])
def test_names_that_are_none_are_left_alone(tmp_path, load, text):
    write_onnx(tmp_path, names=text)
    assert load(tmp_path).names == ("class_0", "class_1", "class_2")


def test_a_torchscript_archive_may_be_called_pt(tmp_path, load):
    write_script(tmp_path).rename(tmp_path / "best.pt")
    (tmp_path / "config.json").write_text(json.dumps({"input_size": [SIDE, SIDE], "label_names": NAMES}))
    assert load(tmp_path / "best.pt").names == NAMES


def test_what_the_file_and_config_json_say_must_agree(tmp_path, load):
    write_onnx(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"input_size": [128, 128]}))
    with pytest.raises(LoadFailed, match=r"input_size: expected \[64, 64\], which the file says, found \[128, 128\]"):
        load(tmp_path)


def test_names_that_do_not_count_what_the_output_has_are_refused(folder, load):
    (folder / "labels.txt").write_text("one\ntwo\n")
    with pytest.raises(LoadFailed, match=r"expected \[6, boxes\], \[boxes, 7\] or \[boxes, 6\], found \[7, 64\]"):
        load(folder)


class Kept(nn.Module):
    """Boxes after its own NMS: left, top, right, bottom, score, class."""

    def __init__(self):
        super().__init__()
        self.boxes = nn.Parameter(torch.tensor([[4.0, 4, 20, 20, 0.9, 2]] + [[0.0] * 6] * 299))

    def forward(self, images):
        return self.boxes.expand(images.shape[0], 300, 6) + images.mean() * 0


def test_an_output_that_two_layouts_have_wants_names_or_output(tmp_path, load):
    write_script(tmp_path, Kept().eval())
    config = {"input_size": [SIDE, SIDE]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        LoadFailed, match=r"\[300, 6\] for each picture may be yolov5 or end2end: output in config\.json"
    ):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "output": "yolov5"}))
    with pytest.raises(LoadFailed, match=r"output: expected scores from 0 to 1, found 2 where yolov5 has them"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "label_names": NAMES}))
    found = load(tmp_path)(pictures())[0]
    assert (found.boxes.tolist(), found.class_id.tolist()) == ([[4, 4, 20, 20]], [2])
    assert found.scores == pytest.approx([0.9])


def test_an_exported_model_has_no_architecture(folder, load):
    with pytest.raises(LoadFailed, match="expected no architecture with an exported model, found torchvision/x"):
        load(folder, architecture="torchvision/x")


def test_weights_need_an_architecture(tmp_path, load):
    torch.save({"x": torch.zeros(1)}, tmp_path / "model.pth")
    with pytest.raises(LoadFailed, match="the architecture is unknown: set it"):
        load(tmp_path)


class Flat(Marks):
    def forward(self, images):
        return super().forward(images).flatten(1)


def test_an_output_that_is_no_detectors_is_refused(tmp_path, load):
    write_script(tmp_path, Flat().eval())
    (tmp_path / "config.json").write_text(json.dumps({"input_size": [SIDE, SIDE]}))
    with pytest.raises(LoadFailed, match=r"output: expected \[1, \.\.\., \.\.\.\], found \[1, 448\]"):
        load(tmp_path)


def test_a_script_that_reaches_beyond_itself_is_refused_before_it_is_loaded(tmp_path, load):
    file, canary = write_script(tmp_path), tmp_path / "canary"
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    code = next(name for name in members if name.endswith(".py"))
    reaching = b"-> Tensor:\n  _0 = torch.save(images, '%s')\n" % str(canary).encode()
    members[code] = members[code].replace(b"-> Tensor:\n", reaching, 1)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(LoadFailed, match=r"refused: its code calls torch\.save, which is none that works on tensors"):
        load(tmp_path)
    assert not canary.exists()


def test_an_onnx_model_that_names_another_file_is_refused(tmp_path, load, monkeypatch):
    """From bytes onnxruntime would look for it in the working directory."""
    monkeypatch.chdir(tmp_path)
    model = onnx.load(write_onnx(tmp_path))
    (tmp_path / "secret.txt").write_bytes(b"\0" * 1024)
    places = next(tensor for tensor in model.graph.initializer if tensor.name == "places")
    places.ClearField("float_data")
    places.data_location = onnx.TensorProto.EXTERNAL
    places.external_data.add(key="location", value="secret.txt")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(LoadFailed, match="refused: the numbers of 'places' stand in another file"):
        load(tmp_path)


@pytest.mark.parametrize("suffix", ["onnx", "torchscript", "pt2"])
@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 cut short", b"\x80\x04cos\nsystem\n"])
def test_a_damaged_file_is_refused(tmp_path, load, suffix, content):
    file = tmp_path / f"model.{suffix}"
    file.write_bytes(content)
    with pytest.raises(LoadFailed, match=str(file)):
        load(tmp_path)


def test_an_onnx_model_with_another_input_is_refused(tmp_path, load):
    helper = onnx.helper
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 1, SIDE, SIDE]) for name in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "grey", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "model.onnx")
    with pytest.raises(LoadFailed, match=r"expected one input \[n, 3, height, width\], found a \['n', 1, 64, 64\]"):
        load(tmp_path)


def test_of_two_models_one_must_be_named(tmp_path, load):
    write_onnx(tmp_path)
    write_script(tmp_path)
    with pytest.raises(LoadFailed, match=r"expected one weight file, found 2 \(model\.onnx, model\.torchscript\)"):
        load(tmp_path)


def test_a_checkpoint_is_read_by_a_process_of_its_own(tmp_path, load):
    """And is refused there if it is more than tensors: whatever it would run does not run."""
    name = "ssdlite320_mobilenet_v3_large"
    model = torchvision_model(name)
    torch.save({"model": model.state_dict(), "optimizer": {}}, tmp_path / "model.pth")
    detector = load(tmp_path, architecture=f"torchvision/{name}")
    assert detector.names == ("class_0", "class_1", "class_2")
    canary = tmp_path / "canary"
    torch.save(Harmful(canary), tmp_path / "model.pth")
    with pytest.raises(LoadFailed, match=r"refused: not only tensors, it also names posix\.system"):
        load(tmp_path, architecture=f"torchvision/{name}")
    assert not canary.exists()


class Harmful:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.mark.skipif(find_spec("ultralytics") is not None, reason="Ultralytics is installed here")
def test_without_ultralytics_its_architectures_are_refused_with_what_to_do(tmp_path, load):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(
        LoadFailed, match=r"pip install 'moorage\[ultralytics\]' \(its licence is AGPL-3\.0\), or export"
    ):
        load(tmp_path, architecture="ultralytics/yolo11n")


@pytest.mark.skipif(find_spec("ultralytics") is None, reason="Ultralytics is not installed here")
def test_an_architecture_of_ultralytics_is_the_packages_own_whatever_lies_in_the_current_directory(
    tmp_path, load, monkeypatch
):
    tasks = ultralytics_detectors._imported()
    model = tasks.DetectionModel(cfg=ultralytics_detectors._described(tasks, "yolo11n"), nc=3, verbose=False)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"input_size": [SIDE, SIDE], "label_names": NAMES}))
    (tmp_path / "yolo11n.yaml").write_text("nc: 3\nbackbone: []\nhead: []\n")
    monkeypatch.chdir(tmp_path)
    detector = load(tmp_path, architecture="ultralytics/yolo11n", confidence=0.0)
    assert (detector.names, detector.network.describe()["output"]) == (NAMES, "yolov8")
    assert len(detector(pictures())[0]) > 0
    with pytest.raises(LoadFailed, match="Ultralytics has no such architecture"):
        load(tmp_path, architecture="ultralytics/yolo99n")


def test_an_architecture_of_another_task_is_refused(tmp_path, load):
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(LoadFailed, match=r"timm/resnet18: expected torchvision/NAME or ultralytics/NAME"):
        load(tmp_path, architecture="timm/resnet18")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"output": "yolov9"}, "output: Input should be"),
        ({"input_size": [8, 8]}, "input_size.0: Input should be greater than or equal to 32"),
        ({"label_names": "abc"}, "label_names: Input should be a valid array"),
        ({"architecture": "resnet"}, "architecture: String should match"),
    ],
)
def test_a_config_that_says_something_else_is_refused_by_name(tmp_path, load, config, words):
    write_onnx(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(LoadFailed) as failed:
        load(tmp_path)
    assert words in str(failed.value)
