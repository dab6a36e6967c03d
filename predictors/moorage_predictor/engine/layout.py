"""Names of tensors: the layouts that are recognised, mapped to timm's. Pure; called by `network.load`.

| layout                   | recognised by             | becomes                                  |
|--------------------------|---------------------------|------------------------------------------|
| timm                     | anything else             | itself                                   |
| efficientnet-lite-pytorch| `_conv_stem.weight`       | timm `tf_efficientnet_lite*`, by name    |
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

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


@dataclass(frozen=True)
class Layout:
    """How the tensors of one file are to be read."""

    names: dict[str, str]
    """The file's name -> timm's name."""
    architecture: str | None = None
    data: DataOverrides = field(default_factory=DataOverrides)


def recognise(keys: Iterable[str], architecture: str | None) -> Layout:
    """The layout of a file with these tensor names."""
    keys = list(keys)
    if "_conv_stem.weight" not in keys:
        return Layout({key: key for key in keys})
    name = (architecture or "tf_efficientnet_lite0").split(".")[0]
    stages = _STAGES.get(name, _STAGES["tf_efficientnet_lite0"])
    expanded = {int(match[1]) for key in keys if (match := _BLOCK.match(key)) and match[2] == "_expand_conv"}
    return Layout({key: _lite_name(key, stages, expanded) for key in keys}, "tf_efficientnet_lite0", _LITE_DATA)


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
