"""`moor init image`: a convolutional network that reads handwritten digits, and a vision transformer that finds figures.

    `digits.py`, 8x8            -> four fifths / one fifth -> digits/  digits-samples/
    `figures.py`, over clutter  -> its own / others        -> figures/ figures-samples/

Both are trained on exactly what the server would make of the files: `Preprocess` with the data config that goes into config.json.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from moorage_predictor.engine.backends.eager import Eager
from moorage_predictor.engine.config import DataConfig
from moorage_predictor.engine.inspection import Inspectable, Pass
from moorage_predictor.scaffolds import Model, Report, figures
from moorage_predictor.scaffolds.digits import DIGITS, SEED, digits, samples, save_pictures, split
from moorage_predictor.scaffolds.training import fit, made, share_right
from moorage_predictor.tasks.image_classification.attention import heat_map
from moorage_predictor.tasks.image_classification.preprocess import Preprocess

_HALF: Final = (0.5, 0.5, 0.5)


def _data(side: int) -> DataConfig:
    return DataConfig(input_size=(3, side, side), mean=_HALF, std=_HALF, interpolation="bicubic", crop_pct=1.0)


DIGITS_DATA: Final = _data(32)
FIGURES_DATA: Final = _data(figures.SIDE)
FIGURES: Final = 960
OTHER_FIGURES: Final = 200


def write(folder: Path, report: Report) -> tuple[Model, ...]:
    """Train both; leave weights, config.json and a few pictures that were not trained on."""
    torch.set_num_threads(1)  # such small networks gain little from more, and become the same on every number of cores
    return _digits(folder, report), _figures(folder, report)


def attention_on_figure(network: Inspectable, others: Sequence[figures.Picture]) -> tuple[float, float]:
    """Of the attention that the class token pays to patches in the last block, the share that goes to the figure; and the
    share of the picture that the figure is. Both are means over the pictures."""
    tokens = network.tokens
    assert tokens is not None
    rows = _rows([each.pixels for each in others], FIGURES_DATA)
    weights = network.run(rows, Pass(layer=tokens.layers - 1)).attention
    assert weights is not None
    shares = []
    for one, other in zip(weights, others, strict=True):
        heat = heat_map(one, tokens, FIGURES_DATA.size)[0]
        shares.append(float(heat[other.figure].sum() / heat.sum()))
    return float(np.mean(shares)), float(np.mean([each.figure.mean() for each in others]))


def _digits(folder: Path, report: Report) -> Model:
    pictures, classes = digits()
    training, held_out = split(classes)
    rows = _rows(pictures, DIGITS_DATA)
    network = made("test_resnet", len(DIGITS), SEED)
    told = lambda done, total: report("digits: training", done, total)  # noqa: E731
    fit(network, rows[training], classes[training], epochs=8, shift=2, seed=SEED, report=told)
    accuracy = share_right(network, rows[held_out], classes[held_out])
    _save(network, folder / "digits", "test_resnet", DIGITS, DIGITS_DATA)
    save_pictures(folder / "digits-samples", samples())
    return Model(
        name="digits",
        task="image-classification",
        weights="model.safetensors",
        measured=f"accuracy {accuracy:.3f} on {len(held_out)} digits that it was not trained on",
        photo="digits-samples/seven.png",
    )


def _figures(folder: Path, report: Report) -> Model:
    report("figures: drawing", 0, 0)
    own, others = figures.pictures(FIGURES, SEED), figures.pictures(OTHER_FIGURES, SEED + 1)
    rows, classes = _rows([each.pixels for each in own], FIGURES_DATA), np.array([each.number for each in own])
    network = made("test_vit", len(figures.NAMES), SEED, img_size=figures.SIDE)
    told = lambda done, total: report("figures: training", done, total)  # noqa: E731
    fit(network, rows, classes, epochs=15, mirror=True, seed=SEED, report=told)
    accuracy = share_right(
        network, _rows([each.pixels for each in others], FIGURES_DATA), np.array([each.number for each in others])
    )
    _save(network, folder / "figures", "test_vit", figures.NAMES, FIGURES_DATA, {"img_size": figures.SIDE})
    save_pictures(folder / "figures-samples", {figures.NAMES[each.number]: each.pixels for each in others[:4]})
    looks, area = attention_on_figure(Inspectable(Eager(network, "fp32", "cpu"), FIGURES_DATA.size), others)
    return Model(
        name="figures",
        task="image-classification",
        weights="model.safetensors",
        measured=f"accuracy {accuracy:.3f} on {len(others)} pictures that it was not trained on; {looks:.0%} of its attention is on "
        f"the figures, which are {area:.0%} of the pictures",
        photo="figures-samples/star.png",
    )


def _rows(pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], data: DataConfig) -> NDArray[np.float32]:
    prepare = Preprocess(data)
    return np.stack([prepare(Image.fromarray(picture).convert("RGB")) for picture in pictures])


def _save(
    network: Any,
    folder: Path,
    architecture: str,
    names: Sequence[str],
    data: DataConfig,
    arguments: dict[str, int] | None = None,
) -> None:
    """What the predictor reads: the weights, and how to prepare images for them."""
    folder.mkdir()
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / "model.safetensors"
    )
    config = {
        "architecture": architecture,
        "num_classes": len(names),
        "label_names": names,
        "model_args": arguments or {},
        "pretrained_cfg": data.model_dump(),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
