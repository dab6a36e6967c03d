"""Weights that tell the photos apart, without a download: `python -m bench.predictor.weights FOLDER`, run by `assets.py`.

    random layers, a seed ─→ features of crops of each photo ─→ their mean and spread ─→ the last layer, in closed form
                                                                                   (linear discriminant, ridge)

Photo i becomes class i with a margin. The other 968 classes are mixtures of two of the 32, so that places two to five
mean something as well. FOLDER has `photos/`; a folder for each network joins it: config.json, model.safetensors and
reference.safetensors, the probabilities [32, 1000] of the photos, fp32 and eager.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from bench.models.images import networks
from bench.models.images.classifier import Classifier
from PIL import Image
from safetensors.torch import load_file, save_file

SEED = 5
CLASSES = 1000
CROPS = 8
CROP_SHARE = (0.75, 1.0)
RIDGE = 1.0
"""Added to the spread, as a share of its mean: small directions of random features are noise."""
TOP_LOGIT = 12.0
"""By how much photo i's own class is above those of the other photos."""
SHARES = 0.7
"""The two shares of a mixture, together: how near the best mixtures come to the class of their photo."""
INCEPTION = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "crop_pct": 0.95}
DATA = {"resnet18": IMAGENET, "vit_small_patch16_224": INCEPTION}


def make(folder: Path) -> None:
    """Everything of every network."""
    files = [file.read_bytes() for file in sorted((folder / "photos").glob("*.jpg"))]
    for architecture in networks.NETWORKS:
        target = folder / architecture
        target.mkdir()
        data = {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_mode": "center"} | DATA[architecture]
        config = {"architecture": architecture, "num_classes": CLASSES, "pretrained_cfg": data}
        (target / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        weights = target / "model.safetensors"
        save_file(_random(architecture).state_dict(), weights)
        classifier = Classifier(target)
        crops = [_crops(file, np.random.default_rng([SEED, number])) for number, file in enumerate(files)]
        batches = [torch.from_numpy(np.stack([classifier.prepare(crop) for crop in some])) for some in crops]
        with torch.inference_mode():
            _settle(classifier.network, torch.cat(batches))
            features = torch.stack([classifier.network.features(batch) for batch in batches])
        weight, bias = _head(features.double())
        values = classifier.network.state_dict() | {
            f"{networks.HEADS[architecture]}.weight": weight,
            f"{networks.HEADS[architecture]}.bias": bias,
        }
        save_file({name: value.contiguous() for name, value in values.items()}, weights)
        classifier = Classifier(target)
        reference = torch.cat([classifier.probabilities(classifier.prepared(file)[None]) for file in files])
        save_file({"probabilities": reference}, target / "reference.safetensors")


def reference(folder: Path) -> np.ndarray:
    """[32, 1000], as `make` wrote it."""
    return load_file(folder / "reference.safetensors")["probabilities"].numpy()


def _random(architecture: str) -> torch.nn.Module:
    """Layers that keep the size of what passes through them, so that different photos stay different."""
    generator = torch.Generator().manual_seed(SEED)
    network = networks.NETWORKS[architecture](CLASSES).eval().requires_grad_(False)
    for name, value in network.named_parameters():
        if value.ndim > 1 and name not in ("cls_token", "pos_embed"):
            fan_in = value[0].numel()
            value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5)
        elif name in ("cls_token", "pos_embed"):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.02)
        elif name.endswith("bias"):
            value.zero_()
    return network


def _settle(network: torch.nn.Module, batch: torch.Tensor) -> None:
    """What batch norms would have learnt of the data: the mean and the variance of these crops."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        norm.train()
    for part in batch.split(64):
        network.features(part)
    for norm in norms:
        norm.eval()


def _crops(file: bytes, random: np.random.Generator) -> list[Image.Image]:
    """The photo itself, and parts of it, half of them mirrored."""
    image = Image.open(io.BytesIO(file)).convert("RGB")
    found = [image]
    while len(found) < CROPS:
        share = random.uniform(*CROP_SHARE)
        width, height = round(share * image.width), round(share * image.height)
        left, top = random.integers(image.width - width + 1), random.integers(image.height - height + 1)
        crop = image.crop((left, top, left + width, top + height))
        found.append(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if len(found) % 2 else crop)
    return found


def _head(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [1000, d] and bias [1000] from features [32, crops, d], the first of each row those of the photo itself."""
    count, _, width = features.shape
    means = features.mean(1)
    within = (features - means[:, None]).flatten(0, 1)
    spread = within.T @ within / len(within)
    spread += RIDGE * spread.trace() / width * torch.eye(width, dtype=spread.dtype)
    typical = (features[:, 0] + means) / 2  # the photo itself counts as much as all of its crops
    middle = typical.mean(0)
    own = typical - middle
    weight = torch.linalg.solve(spread, own.T).T
    weight = TOP_LOGIT * torch.linalg.pinv(own @ weight.T) @ weight  # now own @ weight.T is TOP_LOGIT on its diagonal
    random = np.random.default_rng(SEED)
    rest = CLASSES - count
    one = torch.from_numpy(np.arange(rest) % count)
    other = (one + torch.from_numpy(random.integers(1, count, rest))) % count
    share = torch.from_numpy(random.uniform(SHARES / 2, SHARES, (rest, 1)))
    weight = torch.cat((weight, share * weight[one] + (SHARES - share) * weight[other]))
    return weight.float(), -(weight @ middle).float()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
