"""Files in the names of Meta's DINOv3 release, as they are and as fine-tuning leaves them."""

import re
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from moorage_predictor.engine import dinov3
from moorage_predictor.engine.inspection import Pass
from moorage_predictor.engine.layout import recognise, with_classifier
from moorage_predictor.errors import LoadFailed


def as_released(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's tensors under the names that the release has, with what else is in its files."""
    gated = "blocks.0.mlp.fc1_g.weight" in state
    names = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    names |= {"mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2", "mlp.fc2": "mlp.w3"} if gated else {}
    width = state["cls_token"].shape[-1]
    found: dict[str, Any] = {"mask_token": torch.zeros(1, width), "rope_embed.periods": torch.ones(16)}
    for key, tensor in state.items():
        if key.endswith("attn.qkv.weight"):
            found[key.replace("weight", "bias_mask")] = torch.ones(3 * width)
            found.setdefault(key.replace("weight", "bias"), torch.zeros(3 * width))
        if key.endswith("attn.q_bias"):
            keys = torch.full((width,), 0.5)  # the release masks them
            found[key.replace("q_bias", "qkv.bias")] = torch.cat((tensor, keys, state[key.replace("q_bias", "v_bias")]))
        elif not key.endswith("attn.v_bias"):
            found[_renamed(key, names)] = tensor
    return found


def convnext_as_released(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    names = {"conv_dw": "dwconv", "mlp.fc": "pwconv", "head.norm": "norm"}
    found = {_renamed(_placed(key), names): tensor for key, tensor in state.items()}
    return {**found, "norms.3.weight": found["norm.weight"].clone(), "norms.3.bias": found["norm.bias"].clone()}


def _renamed(key: str, names: dict[str, str]) -> str:
    for theirs, released in names.items():
        key = key.replace(theirs, released)
    return key


def _placed(key: str) -> str:
    key = re.sub(r"^stem\.", "downsample_layers.0.", key)
    key = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", key)
    return re.sub(r"^stages\.(\d)\.blocks\.", r"stages.\1.", key)


def made(name: str, **args: Any) -> Any:
    torch.manual_seed(2)
    module = timm.create_model(name, **args).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return module


@pytest.fixture(scope="module")
def small() -> Any:
    return made("vit_small_patch16_dinov3", num_classes=0, global_pool="token")


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))


def test_the_released_transformer_is_recognised_and_gives_its_class_token(load, tmp_path, small, batch):
    torch.save(as_released(small.state_dict()), tmp_path / "dinov3_vits16_pretrain_lvd1689m-08c60483.pth")
    network = load(tmp_path)
    assert (network.architecture, network.num_classes) == ("vit_small_patch16_dinov3", 0)
    with torch.no_grad():
        expected = small.forward_features(batch)[:, 0].numpy()
    assert np.allclose(network.inspect.run(batch.numpy(), Pass("cls")).features, expected, atol=1e-5)


def test_a_fine_tuned_one_with_a_classifier_of_its_own_name_loads(load, tmp_path, small, batch):
    head = "classifier.1"
    state = {f"module.backbone.{key}": tensor for key, tensor in as_released(small.state_dict()).items()}
    weight, bias = torch.randn(4, 384) / 20, torch.randn(4)
    state |= {f"module.{head}.weight": weight, f"module.{head}.bias": bias}
    torch.save({"model": state, "epoch": 3, "optimizer": {"lr": 1e-4}}, tmp_path / "best.pth")
    network = load(tmp_path, architecture="timm/vit_small_patch16_dinov3")
    with torch.no_grad():
        expected = small.forward_features(batch)[:, 0] @ weight.T + bias
    assert network.num_classes == 4
    assert np.allclose(network.forward(batch.numpy()), expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("head", ["head", "classifier", "fc", "linear_head", "head.fc", "classifier.1"])
def test_a_classifier_is_found_under_the_usual_names(head):
    state = {"norm.weight": torch.ones(4), f"{head}.weight": torch.ones(2, 4), f"{head}.bias": torch.ones(2)}
    assert set(with_classifier(state, "head")) == {"norm.weight", "head.weight", "head.bias"}


def test_of_two_that_might_be_the_classifier_none_is_taken():
    state = {"fc.weight": torch.ones(2, 4), "classifier.weight": torch.ones(2, 4)}
    assert with_classifier(state, "head") == state


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "module.backbone.", "_orig_mod.module.", "model.", ""])
def test_what_training_wraps_around_a_network_comes_off(prefix):
    bare = ["cls_token", "blocks.0.norm1.weight", "blocks.0.norm1.bias"]
    tensors = {f"{prefix}{key}": torch.ones(1) for key in bare} | {"head.weight": torch.ones(2, 4)}
    assert list(recognise(tensors, None).names.values()) == [*bare, "head.weight"]


def test_nothing_comes_off_where_two_names_would_become_one():
    tensors = {"backbone.head.weight": torch.ones(2, 4), "head.weight": torch.ones(2, 4)}
    assert recognise(tensors, None).names == {key: key for key in tensors}


def test_biases_that_fine_tuning_has_changed_are_not_lost(load, tmp_path, batch):
    module = made("vit_small_patch16_dinov3_qkvb", num_classes=0, global_pool="token")
    save_file(as_released(module.state_dict()), tmp_path / "model.safetensors")
    network = load(tmp_path)
    assert network.architecture == "vit_small_patch16_dinov3_qkvb"
    with torch.no_grad():
        expected = module.forward_features(batch)[:, 0].numpy()
    assert np.allclose(network.inspect.run(batch.numpy(), Pass("cls")).features, expected, atol=1e-5)
    with pytest.raises(LoadFailed, match="say timm/vit_small_patch16_dinov3_qkvb"):
        load(tmp_path, architecture="timm/vit_small_patch16_dinov3")


def test_the_released_convnext_is_recognised(load, tmp_path):
    module = made("convnext_tiny", num_classes=0)
    save_file(convnext_as_released(module.state_dict()), tmp_path / "model.safetensors")
    network = load(tmp_path)
    assert network.architecture == "convnext_tiny.dinov3_lvd1689m"
    batch = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = module(batch).numpy()
    assert np.allclose(network.inspect.run(batch.numpy(), Pass("pooled")).features, expected, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch16_dinov3",
        "vit_small_plus_patch16_dinov3",
        "vit_base_patch16_dinov3",
        "vit_large_patch16_dinov3",
        "vit_huge_plus_patch16_dinov3",
        "convnext_tiny.dinov3_lvd1689m",
        "convnext_small.dinov3_lvd1689m",
        "convnext_base.dinov3_lvd1689m",
        "convnext_large.dinov3_lvd1689m",
    ],
)
def test_every_released_network_is_recognised_and_each_of_its_tensors_finds_its_place(name):
    with torch.device("meta"):
        module = timm.create_model(name, num_classes=0)
    rename = convnext_as_released if name.startswith("convnext") else as_released
    released = rename(module.state_dict())
    assert dinov3.released(released)
    assert dinov3.architecture_of(released) == name
    found = dinov3.converted(released, module)
    assert {key: tensor.shape for key, tensor in found.items()} == {
        key: tensor.shape for key, tensor in module.state_dict().items()
    }


def test_what_does_not_fit_is_told_in_the_files_own_names(load, tmp_path, small):
    state = as_released(small.state_dict())
    del state["blocks.3.norm1.weight"]
    save_file({**state, "projector.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(LoadFailed, match=r"missing: blocks\.3\.norm1\.weight; unexpected: projector\.weight"):
        load(tmp_path)
