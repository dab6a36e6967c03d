"""The tensors of Meta's DINOv3 release -> timm's, by timm's own conversion. Called by `network.load` and `layout`.

timm has each transformer twice: without biases of queries and values, which the released ones have as zeros, and as NAME_qkvb
with them. A file with other biases, which fine-tuning leaves, needs the latter.
"""

import contextlib
import io
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

Tensors = Mapping[str, Any]

TRANSFORMER: Final = "storage_tokens"
CONVNEXT: Final = "downsample_layers.0.0.weight"
_CLASS_TOKEN: Final = "cls_token"  # noqa: S105 - of a transformer
_SWIGLU: Final = "blocks.0.mlp.w1.weight"
_TRANSFORMERS: Final = {
    (384, False): "vit_small_patch16_dinov3",
    (384, True): "vit_small_plus_patch16_dinov3",
    (768, False): "vit_base_patch16_dinov3",
    (1024, False): "vit_large_patch16_dinov3",
    (1280, True): "vit_huge_plus_patch16_dinov3",
    (4096, True): "vit_7b_patch16_dinov3",
}
"""By width of a token, and whether its blocks have gated perceptrons."""
_NORMS: Final = "norms.3.weight"
"""Of the release's convolutional networks; the supervised ones that Meta released before have the other names alone."""
_CONVNEXTS: Final = {
    (768, 9): "convnext_tiny",
    (768, 27): "convnext_small",
    (1024, 27): "convnext_base",
    (1536, 27): "convnext_large",
}
"""By width of the last stage, and blocks of the third."""


def released(tensors: Tensors) -> bool:
    """Are these names those of the release?"""
    return CONVNEXT in tensors or (TRANSFORMER in tensors and _CLASS_TOKEN in tensors)


def architecture_of(tensors: Tensors) -> str | None:
    """timm's name of the network whose tensors, in the release's names, these are; None if it is none of them."""
    if TRANSFORMER in tensors:
        name = _TRANSFORMERS.get((tensors[_CLASS_TOKEN].shape[-1], _SWIGLU in tensors))
        return f"{name}_qkvb" if name and "7b" not in name and _has_biases(tensors) else name
    blocks = {key.split(".")[2] for key in tensors if key.startswith("stages.2.")}
    last = tensors.get("stages.3.0.norm.weight")
    name = None if last is None else _CONVNEXTS.get((last.shape[0], len(blocks)))
    return f"{name}.dinov3_lvd1689m" if name and _NORMS in tensors else name


def misfit(tensors: Tensors, name: str) -> str | None:
    """Why this architecture of the user's would lose some of the tensors; None if it would not."""
    if TRANSFORMER in tensors and "7b" not in name and not name.endswith("_qkvb") and _has_biases(tensors):
        return f"its queries and values have biases, which timm/{name} has not: say timm/{name}_qkvb"
    return None


def converted(tensors: Tensors, module: Any) -> dict[str, Any]:
    """The same tensors in the names of timm's module.

    Raises:
        KeyError, RuntimeError, ValueError: they are not those of this module.
    """
    convert = import_module(type(module).__module__).checkpoint_filter_fn
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it looked for and did not find
        found: dict[str, Any] = convert(dict(tensors), module)
    return found


def _has_biases(tensors: Tensors) -> bool:
    """Those of queries or values; keys have none, whatever the file says."""
    for key, tensor in tensors.items():
        if key.endswith("attn.qkv.bias"):
            queries, _, values = tensor.chunk(3)
            if bool(queries.any()) or bool(values.any()):
                return True
    return False
