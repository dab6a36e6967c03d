"""What `moor init KIND` can make, a row each. Read by the command line, and by `command.py`."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Kind:
    """One of them. Its training is `write` in `moorage_predictor/scaffolds/<word>.py`."""

    word: str
    makes: str
    """What, of which data; follows "a small model: "."""
    needs: tuple[str, ...]
    """Modules that must be importable for it."""
    extras: str
    """Of the distribution, that bring them."""


KINDS: Final = {
    kind.word: kind
    for kind in (
        Kind(
            word="image",
            makes="a convolutional network that reads digits, and a transformer that finds figures over clutter",
            needs=("torch", "timm", "sklearn"),
            extras="predictor,demo",
        ),
        Kind(
            word="tabular",
            makes="two tables: irises by a scikit-learn pipeline, tumours by boosted trees",
            needs=("sklearn", "skops", "lightgbm"),
            extras="predictor,tabular",
        ),
        Kind(
            word="detection",
            makes="a small one-stage network that finds circles, squares and triangles over photographs",
            needs=("torch", "torchvision", "pycocotools"),
            extras="predictor,demo",
        ),
        Kind(
            word="custom",
            makes="a class of your own with five hooks, which reads digits by the most alike that it knows",
            needs=("sklearn", "safetensors", "PIL"),
            extras="predictor,demo",
        ),
    )
}
