"""Attention and features against what timm itself computes without its fused kernel."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import timm
import torch

from moorage_predictor.engine.backends.eager import Eager
from moorage_predictor.engine.inspection import Inspectable, Pass, Tokens
from moorage_predictor.tasks.image_classification.attention import heat_map, without_registers

SIDE = {"vit_small_patch16_dinov3": 224}


def made(name: str, **args: Any) -> Any:
    torch.manual_seed(3)
    module = timm.create_model(name, num_classes=7, **args).eval()
    for parameter in module.parameters():  # what starts at zero or nearly would hide mistakes
        torch.nn.init.normal_(parameter, std=0.08)
    return module


def batch_for(name: str, rows: int = 2) -> np.ndarray:
    side = SIDE.get(name, 160)
    return torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(4)).numpy()


def inspectable(module: Any, name: str) -> Inspectable:
    side = SIDE.get(name, 160)
    return Inspectable(Eager(module, "fp32", "cpu"), (side, side))


@pytest.fixture(scope="module")
def dinov3() -> Any:
    return made("vit_small_patch16_dinov3")


@pytest.fixture
def unfused() -> Callable[[Any, np.ndarray], list[np.ndarray]]:
    """The weights of every block, [n, heads, tokens, tokens], from timm's own unfused code."""

    def run(module: Any, batch: np.ndarray) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        hooks = []
        for block in module.blocks:
            block.attn.fused_attn = False
            hooks.append(block.attn.attn_drop.register_forward_hook(lambda *call: found.append(call[2].numpy().copy())))
        with torch.no_grad():
            module(torch.from_numpy(batch))
        for hook, block in zip(hooks, module.blocks, strict=True):
            hook.remove()
            block.attn.fused_attn = True
        return found

    return run


def test_a_dinov3s_attention_is_that_of_an_unfused_forward_pass(dinov3, unfused):
    name = "vit_small_patch16_dinov3"
    batch = batch_for(name)
    own = inspectable(dinov3, name)
    assert own.tokens == Tokens(layers=12, heads=6, class_token=True, registers=4, grid=(14, 14))
    reference = unfused(dinov3, batch)
    for layer in (0, 11):
        found = own.run(batch, Pass(layer=layer, per_head=True)).attention
        assert found.shape == (2, 6, 201, 201)
        assert np.abs(found - reference[layer]).max() < 1e-5
        assert np.abs(found.sum(-1) - 1).max() < 1e-5
        mean = own.run(batch, Pass(layer=layer)).attention
        assert np.abs(mean - reference[layer].mean(1, keepdims=True)).max() < 1e-5


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit4"], ids=["class", "registers", "normed"])
def test_so_is_that_of_other_transformers(unfused, name):
    module, batch = made(name), batch_for(name)
    own = inspectable(module, name)
    reference = unfused(module, batch)
    for layer, expected in enumerate(reference):
        assert np.abs(own.run(batch, Pass(layer=layer, per_head=True)).attention - expected).max() < 1e-5


def test_blocks_without_the_fused_kernel_give_the_same():
    module, batch = made("test_vit"), batch_for("test_vit")
    own = inspectable(module, "test_vit")
    fused = own.run(batch, Pass(layer=5)).attention
    for block in module.blocks:
        block.attn.fused_attn = False
    assert np.abs(own.run(batch, Pass(layer=5)).attention - fused).max() < 1e-5


def test_the_answer_does_not_change_when_somebody_looks(dinov3):
    name = "vit_small_patch16_dinov3"
    batch = batch_for(name)
    own = inspectable(dinov3, name)
    plain = Eager(dinov3, "fp32", "cpu").forward(batch)
    assert np.array_equal(own.run(batch, Pass("cls", layer=11)).logits, plain)


def test_threads_that_want_different_layers_at_once_each_get_their_own():
    module, batch = made("test_vit"), batch_for("test_vit")
    own = inspectable(module, "test_vit")
    alone = [own.run(batch, Pass(layer=layer), 1).attention for layer in range(6)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda turn: own.run(batch, Pass(layer=turn % 6), 1).attention, range(48)))
    for turn, found in enumerate(together):
        assert np.array_equal(found, alone[turn % 6])


def test_the_class_tokens_features_and_the_patches_mean(dinov3):
    name = "vit_small_patch16_dinov3"
    batch = batch_for(name)
    own = inspectable(dinov3, name)
    assert own.widths == {"cls": 384, "pooled": 384}
    with torch.no_grad():
        tokens = dinov3.forward_features(torch.from_numpy(batch))
        pooled = dinov3.forward_head(tokens, pre_logits=True)
    assert np.allclose(own.run(batch, Pass("cls")).features, tokens[:, 0].numpy(), atol=1e-5)
    assert np.allclose(own.run(batch, Pass("pooled")).features, pooled.numpy(), atol=1e-5)


def test_the_mean_of_the_patches_where_the_network_itself_takes_the_class_token():
    module, batch = made("test_vit"), batch_for("test_vit")
    with torch.no_grad():
        tokens = module.forward_features(torch.from_numpy(batch))
    found = inspectable(module, "test_vit").run(batch, Pass("pooled")).features
    assert np.allclose(found, tokens[:, 1:].mean(1).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_a_convolutional_network_has_what_its_classifier_reads_and_no_attention(name):
    module, batch = made(name), batch_for(name)
    own = inspectable(module, name)
    assert own.tokens is None
    with torch.no_grad():
        expected = module.forward_head(module.forward_features(torch.from_numpy(batch)), pre_logits=True).numpy()
    found = own.run(batch, Pass("pooled"))
    assert np.allclose(found.features, expected, atol=1e-4)
    assert found.features.shape == (2, own.widths["pooled"])
    assert found.attention is None


def test_windows_are_no_attention_over_all_tokens():
    name = "swin_tiny_patch4_window7_224"
    module = timm.create_model(name, num_classes=2).eval()
    assert Inspectable(Eager(module, "fp32", "cpu"), (224, 224)).tokens is None


@pytest.mark.parametrize("name", ["cait_xxs24_224", "convit_tiny"], ids=["late class token", "two softmaxes a block"])
def test_a_network_whose_blocks_attend_otherwise_is_known_to_have_no_attention_once_it_has_run(name):
    module = timm.create_model(name, num_classes=2).eval()
    own = Inspectable(Eager(module, "fp32", "cpu"), (224, 224))
    batch = np.zeros((1, 3, 224, 224), np.float32)
    logits = own.verified(batch)
    assert own.tokens is None
    found = own.run(batch, Pass("cls"))
    assert np.allclose(found.logits, logits, atol=1e-5)
    with torch.no_grad():
        assert np.allclose(found.features, module.forward_features(torch.from_numpy(batch))[:, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit4"], ids=["class", "registers", "normed"])
def test_one_whose_blocks_attend_over_all_tokens_stays_known_for_it(name):
    own = inspectable(made(name), name)
    promised = own.tokens
    own.verified(batch_for(name, rows=1))
    assert promised is not None
    assert own.tokens == promised


def test_pooling_by_attention_after_the_last_block_is_none_of_a_blocks():
    module = timm.create_model("test_vit", num_classes=2, class_token=False, global_pool="map").eval()
    own = inspectable(module, "test_vit")
    own.verified(batch_for("test_vit", rows=1))
    assert own.tokens is not None


def test_a_distillation_token_is_no_register():
    module = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=2).eval()
    tokens = Inspectable(Eager(module, "fp32", "cpu"), (224, 224)).tokens
    assert tokens == Tokens(layers=12, heads=3, class_token=True, registers=0, grid=(14, 14), others=1)
    assert tokens.count == 198
    weights = np.full((1, 198, 198), 1 / 198, np.float32)
    assert without_registers(weights, tokens).shape == (1, 198, 198)
    assert heat_map(weights, tokens, (224, 224)).shape == (1, 224, 224)
