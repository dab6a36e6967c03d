"""`moor init detection`: a small one-stage detector of circles, squares and triangles over photographs.

    shapes.scene -> 128x128 pictures, drawn anew -> train -> shapes/ (model.pt2, labels.txt), shapes-samples/
                                                     └─ the written file, as it is served, is what is measured

The photographs are those that come with Moorage; the one behind the held-out pictures is behind none of the others.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, silu, softplus
from torchvision.ops import generalized_box_iou_loss

from moorage_predictor.scaffolds import Model, Report
from moorage_predictor.scaffolds.precision import mean_average_precision
from moorage_predictor.scaffolds.shapes import NAMES, Scene, scene
from moorage_predictor.tasks.image_classification import Limits, PixelImages
from moorage_predictor.tasks.image_classification.calibration import SHIPPED
from moorage_predictor.tasks.object_detection import Detections, Detector, Options
from moorage_predictor.tasks.object_detection.config import DetectionConfig
from moorage_predictor.tasks.object_detection.letterbox import letterboxed

SIDE: Final = 128
"""Of the network's input, pixels."""
STRIDE: Final = 8
STEPS: Final = 400
BATCH: Final = 16
HELD_OUT: Final = 200
SAMPLES: Final = 6
SEED: Final = 20261122
_PICTURES: Final = 600
_REACH: Final = 1.0
"""Cells around a shape's middle that are to find it, in strides."""
_MEASURED: Final = Options(confidence=0.01, iou=0.5, max_detections=20)


class ShapeDetector(nn.Module):
    """A box and a score for each class at each cell of a grid: YOLOv8's output, [n, 4 + classes, cells], of [n, 3, 128, 128]."""

    centres: torch.Tensor
    """Of the cells, pixels: x and y, [2, cells]."""

    def __init__(self, classes: int = len(NAMES), width: int = 48) -> None:
        super().__init__()
        self.stem = nn.ModuleList([_block(3, 16, 2), _block(16, 32, 2), _block(32, width, 2)])
        self.body = nn.ModuleList([_block(width, width, 1, dilation) for dilation in (1, 2, 4, 2, 1)])
        self.head = nn.Conv2d(width, 4 + classes, 1, bias=True)
        self.head.bias = nn.Parameter(torch.tensor([1.0] * 4 + [-4.0] * classes))  # at first nothing is anywhere
        cells = (torch.arange(SIDE // STRIDE) + 0.5) * STRIDE
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        self.register_buffer("centres", torch.stack([x.flatten(), y.flatten()]))

    def raw(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes [n, 4, cells] as left, top, right, bottom, and logits [n, classes, cells]."""
        found = images * 2 - 1
        for block in self.stem:
            found = block(found)
        for block in self.body:
            found = found + block(found)
        found = self.head(found).flatten(2)
        reach = softplus(found[:, :4]) * STRIDE
        return torch.cat([self.centres - reach[:, :2], self.centres + reach[:, 2:]], 1), found[:, 4:]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """As it is exported."""
        corners, logits = self.raw(images)
        first, last = corners[:, :2], corners[:, 2:]
        return torch.cat([(first + last) / 2, last - first, logits.sigmoid()], 1)


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, stride, dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(outside)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return silu(self.norm(self.conv(images)))


def _block(inside: int, outside: int, stride: int, dilation: int = 1) -> nn.Module:
    return _Block(inside, outside, stride, dilation)


def write(folder: Path, report: Report) -> tuple[Model, ...]:
    """Train; leave `shapes` (the exported network, class names) and `shapes-samples` (held-out pictures) in the folder."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    photos = [Image.open(file).convert("RGB") for file in sorted(SHIPPED.iterdir()) if file.suffix in (".png", ".jpg")]
    training = []
    for number in range(_PICTURES):
        training.append(scene(photos[1:], _size(random), random, clutter=True))
        report("drawing", number + 1, _PICTURES)
    held_out = [scene(photos[:1], _size(random), random) for _ in range(HELD_OUT)]
    network = ShapeDetector()
    fit(network, training, report)
    (folder / "shapes").mkdir()
    weights = folder / "shapes" / "model.pt2"
    weights.write_bytes(exported(network))
    (folder / "shapes" / "labels.txt").write_text("\n".join(NAMES) + "\n")
    samples = folder / "shapes-samples"
    samples.mkdir()
    for number in range(SAMPLES):
        Image.fromarray(scene(photos[:1], (480, 360), random).pixels).save(samples / f"{number}.png")
    report("measuring", 0, 0)
    precision = mean_average_precision(held_out, found_by(weights, held_out), len(NAMES))
    return (
        Model(
            name="shapes",
            task="object-detection",
            weights=weights.name,
            measured=f"mAP@50 {precision:.3f} on {HELD_OUT} pictures over a photo that it was not trained on",
            photo="shapes-samples/0.png",
        ),
    )


def _size(random: np.random.Generator) -> tuple[int, int]:
    """Width and height of a picture, from once to twice the network's input."""
    width, height = random.integers(SIDE, 2 * SIDE, 2)
    return int(width), int(height)


def fit(network: ShapeDetector, scenes: Sequence[Scene], report: Report, steps: int = STEPS) -> None:
    """Train on pictures as they are prepared when it is served, half of them mirrored. Leaves it in `eval`."""
    network.to(memory_format=torch.channels_last).train()
    prepared = [_prepared(network, one, mirrored) for one in scenes for mirrored in (False, True)]
    images, classes, boxes = (torch.stack(parts) for parts in zip(*prepared, strict=True))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps, pct_start=0.15)
    for step in range(steps):
        chosen = torch.randint(len(images), (BATCH,))
        optimizer.zero_grad()
        loss(network, images[chosen].float() / 255, classes[chosen], boxes[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        cycle.step()
        report("training", step + 1, steps)
    network.to(memory_format=torch.contiguous_format).eval()


def loss(network: ShapeDetector, images: torch.Tensor, classes: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Of classes [n, cells] (-1: nothing there) and boxes [n, cells, 4]: focal loss (Lin et al. 2017) and GIoU."""
    corners, logits = network.raw(images)
    there = classes >= 0
    wanted = torch.zeros_like(logits)
    wanted.scatter_(1, classes.clamp(min=0)[:, None], there[:, None].float())
    missed = (wanted - logits.sigmoid()).abs()
    count = there.sum().clamp(min=1)
    found = (missed * binary_cross_entropy_with_logits(logits, wanted, reduction="none")).sum() / count
    fitted = generalized_box_iou_loss(corners.permute(0, 2, 1)[there], boxes[there], reduction="sum") / count
    total: torch.Tensor = found + 2 * fitted
    return total


def _prepared(network: ShapeDetector, one: Scene, mirrored: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The picture as input, in bytes; for each cell the class that it is to find, or -1; and the box."""
    placed = letterboxed(one.pixels, (SIDE, SIDE))
    place = placed.place
    moved = one.boxes * place.scale_x + np.array([place.left, place.top] * 2, dtype=np.float32)
    image, corners = placed.tensor, torch.from_numpy(moved.astype(np.float32))
    if mirrored:
        image, corners = (
            image.flip(2),
            torch.stack([SIDE - corners[:, 2], corners[:, 1], SIDE - corners[:, 0], corners[:, 3]], 1),
        )
    centres = network.centres
    classes = torch.full((centres.shape[1],), -1)
    boxes = torch.zeros((centres.shape[1], 4))
    for box, number in zip(corners, one.classes.tolist(), strict=True):
        near = ((centres - ((box[:2] + box[2:]) / 2)[:, None]).abs() <= _REACH * STRIDE).all(0)
        classes[near], boxes[near] = number, box
    return (image * 255).round().byte(), classes, boxes


def exported(network: ShapeDetector) -> bytes:
    """A `torch.export` archive, for any number of pictures at a time."""
    example = torch.zeros((2, 3, SIDE, SIDE))
    program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=1024)},))
    stream = io.BytesIO()
    torch.export.save(program, stream)
    return stream.getvalue()


def found_by(weights: Path, scenes: Sequence[Scene]) -> list[Detections]:
    """What the written file finds, through all that is between a picture and its boxes when it is served."""
    from moorage_predictor.tasks.object_detection import exported as files

    network = files.load(weights, "exported", DetectionConfig.beside(weights))
    detector = Detector(network, _MEASURED, Limits(max_image_bytes=1 << 20, max_image_side=4096))
    return [detector(PixelImages(one.pixels[None]))[0] for one in scenes]
