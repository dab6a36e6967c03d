"""Names of tensors: the layouts that are recognised, mapped to timm's. Pure; called by `network.load`.

| layout                    | recognised by                                    | becomes                                            |
|---------------------------|--------------------------------------------------|----------------------------------------------------|
| timm                      | anything else                                    | itself                                             |
| Meta's DINOv3             | `storage_tokens`, `downsample_layers.0.0.weight` | timm's DINOv3 or ConvNeXt, by timm (`dinov3.py`)   |
| efficientnet-lite-pytorch | `_conv_stem.weight`                              | timm `tf_efficientnet_lite*`, by name              |

Before that come off what training wraps around a network (`module.`, `backbone.` ...), and a classifier under another name is
called what timm calls it (`with_classifier`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from moorage_predictor.engine import dinov3
from moorage_predictor.engine.config import DataOverrides

_BLOCK: Final = re.compile(r"_blocks\.(\d+)\.(_\w+)\.(\w+)$")
_OUTER: Final = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# A first block without expansion is timm's DepthwiseSeparableConv, the others are InvertedResidual.
_PLAIN: Final = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDED: Final = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# Blocks a stage, of the variants that differ in it: the layout numbers the blocks through, timm numbers them by stage.
_STAGES: Final = {
    "tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "tf_efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
    "tf_efficientnet_lite3": (1, 3, 3, 5, 5, 6, 1),
    "tf_efficientnet_lite4": (1, 4, 4, 6, 6, 8, 1),
}
# The reference implementation normalises bytes with mean 127 and deviation 128; timm's converted weights use 0.5, 0.5.
_LITE_DATA: Final = DataOverrides(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


_WRAPPERS: Final = ("module.", "_orig_mod.", "model.", "network.", "backbone.", "encoder.")
"""What DistributedDataParallel, torch.compile, and people's own classes put before every name, or every one but the classifier's."""
_CLASSIFIER: Final = re.compile(r"(?:head|classifier|fc|linear|linear_head|cls_head)(?:\.(?:fc|linear|\d+))?")


@dataclass(frozen=True)
class Layout:
    """How the tensors of one file are to be read."""

    names: dict[str, str]
    """The file's name -> timm's name."""
    architecture: str | None = None
    data: DataOverrides = field(default_factory=DataOverrides)
    released: bool = False
    """The names are still those of Meta's release; `dinov3.converted` is to be called."""
    build_args: dict[str, Any] = field(default_factory=dict)
    """For timm's builder, where config.json says nothing."""


def recognise(tensors: Mapping[str, Any], architecture: str | None) -> Layout:
    """The layout of a file with these tensors by name."""
    bare = _unwrapped(tensors)
    keys = list(bare.values())
    if "_conv_stem.weight" not in keys:
        named = {bare[key]: tensor for key, tensor in tensors.items()}
        if not dinov3.released(named):
            return Layout(bare)
        # The release's classifiers read the class token; timm would take the mean of the patches.
        args = {"global_pool": "token"} if dinov3.TRANSFORMER in named else {}
        return Layout(bare, dinov3.architecture_of(named), released=True, build_args=args)
    name = (architecture or "tf_efficientnet_lite0").split(".")[0]
    stages = _STAGES.get(name, _STAGES["tf_efficientnet_lite0"])
    expanded = {int(match[1]) for key in keys if (match := _BLOCK.match(key)) and match[2] == "_expand_conv"}
    names = {key: _lite_name(name, stages, expanded) for key, name in bare.items()}
    return Layout(names, "tf_efficientnet_lite0", _LITE_DATA)


def with_classifier(tensors: Mapping[str, Any], classifier: str) -> dict[str, Any]:
    """The tensors with the only thing that looks like a linear classifier under timm's name, if nothing has that name."""
    found = {
        key.removesuffix(".weight") for key, tensor in tensors.items() if key.endswith(".weight") and tensor.ndim == 2
    }
    heads = [name for name in found if _CLASSIFIER.fullmatch(name)]
    if f"{classifier}.weight" in tensors or len(heads) != 1:
        return dict(tensors)
    leaves = {f"{heads[0]}.{leaf}": f"{classifier}.{leaf}" for leaf in ("weight", "bias")}
    return {leaves.get(key, key): tensor for key, tensor in tensors.items()}


def _unwrapped(keys: Iterable[str]) -> dict[str, str]:
    """Each name, and the same without what training has wrapped around the network."""
    names = {key: key for key in keys}
    while True:
        for prefix in _WRAPPERS:
            inside = [name for name in names.values() if name.startswith(prefix)]
            others = {name.rpartition(".")[0] for name in names.values() if not name.startswith(prefix)}
            if inside and all(_CLASSIFIER.fullmatch(other) for other in others):
                break
        else:
            return names
        bare = {key: name.removeprefix(prefix) for key, name in names.items()}
        if len(set(bare.values())) < len(bare):  # two networks in one file
            return names
        names = bare


def _lite_name(key: str, stages: Sequence[int], expanded: set[int]) -> str:
    if match := _BLOCK.match(key):
        block, module, leaf = int(match[1]), match[2], match[3]
        names = _EXPANDED if block in expanded else _PLAIN
        return f"blocks.{_place(block, stages)}.{names.get(module, module)}.{leaf}"
    module, _, leaf = key.partition(".")
    return f"{_OUTER.get(module, module)}.{leaf}"


def _place(block: int, stages: Sequence[int]) -> str:
    for stage, size in enumerate(stages):
        if block < size:
            return f"{stage}.{block}"
        block -= size
    return f"{len(stages)}.{block}"
