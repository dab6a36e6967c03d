"""torchvision's detectors: Faster R-CNN, RetinaNet, FCOS, SSD and SSDlite, with the user's weights. Made by `load.py`.

A request's own thresholds are attributes of torchvision's modules. So each forward pass calls a shallow copy of the model,
which has its own thresholds and shares all parameters; nothing is set on a module that another thread runs.

    model.transform (in a decode thread, one picture) -> rows of one size -> the rest of model.forward -> boxes back to pixels

Pictures share a pass only if they are of one size after torchvision's resizing: in a batch it pads to the largest, and the
padding would change its neighbours' answers.
"""

import copy
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from moorage_predictor.engine import precision
from moorage_predictor.engine.backends.eager import set_threads
from moorage_predictor.engine.uninitialised import Uninitialised
from moorage_predictor.errors import ImageInvalid, LoadFailed
from moorage_predictor.tasks.object_detection.config import DetectionConfig
from moorage_predictor.tasks.object_detection.fitting import fill
from moorage_predictor.tasks.object_detection.names import Names, resolved
from moorage_predictor.tasks.object_detection.options import Options
from moorage_predictor.tasks.object_detection.types import Detections, Pixels, Place, Prepared

PREFIX: Final = "torchvision/"
_ALL: Final = 100_000
"""Detections, where those of some classes are picked out afterwards."""


@dataclass(frozen=True)
class _Head:
    """Where a detector's weights tell how many classes it has."""

    key: str
    rows: int
    """Of that tensor, for each class."""
    background: bool
    """Whether the network's class 0 is the background, whatever the user's names say."""


_RCNN: Final = _Head("roi_heads.box_predictor.cls_score.weight", 1, True)
_RETINANET: Final = _Head("head.classification_head.cls_logits.weight", 9, False)
DETECTORS: Final[Mapping[str, _Head]] = {
    "fasterrcnn_resnet50_fpn": _RCNN,
    "fasterrcnn_resnet50_fpn_v2": _RCNN,
    "fasterrcnn_mobilenet_v3_large_fpn": _RCNN,
    "fasterrcnn_mobilenet_v3_large_320_fpn": _RCNN,
    "retinanet_resnet50_fpn": _RETINANET,
    "retinanet_resnet50_fpn_v2": _RETINANET,
    "fcos_resnet50_fpn": _Head("head.classification_head.cls_logits.weight", 1, False),
    "ssd300_vgg16": _Head("head.classification_head.module_list.0.weight", 4, True),
    "ssdlite320_mobilenet_v3_large": _Head("head.classification_head.module_list.0.1.weight", 6, True),
}


class TorchvisionDetector:
    """One of them. Safe to call from several threads."""

    most_rows: int | None = None

    def __init__(self, model: Any, names: Names) -> None:
        """`model` is torchvision's module in `eval`; it is used up."""
        self._device = precision.device()
        self._model = model.to(self._device)
        self._transform = model.transform
        self._offset = names.offset
        self.names = names.names

    def prepare(self, pixels: Pixels) -> Prepared:
        """See `Network`."""
        import torch

        height, width = pixels.shape[:2]
        if not self._transform.fixed_size:
            shorter, longer = sorted((height, width))
            scale = min(self._transform.min_size[-1] / shorter, self._transform.max_size / longer)
            if int(shorter * scale) < 1:  # torchvision rounds down
                raise ImageInvalid(
                    f"image: expected a longer side of at most {self._transform.max_size} times the shorter one, found "
                    f"{width}x{height}: nothing would be left of it at the network's size"
                )
        set_threads(1)
        with torch.inference_mode():
            image = torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255)
            images, _ = self._transform([image])
        resized_height, resized_width = images.image_sizes[0]
        place = Place(scale_x=resized_width / width, scale_y=resized_height / height)
        return Prepared(images.tensors[0], (height, width), place)

    def key(self, prepared: Prepared, options: Options) -> Hashable:
        """See `Network`."""
        return _resized(prepared), tuple(prepared.tensor.shape), options.confidence, options.iou, _limit(options)

    def forward(self, rows: Sequence[tuple[Prepared, Options]], threads: int) -> list[Detections]:
        """See `Network`; the rows' keys are equal."""
        import torch

        options = rows[0][1]
        model = _with(self._model, options, [_resized(prepared) for prepared, _ in rows])
        with torch.inference_mode():
            if self._device == "cpu":
                set_threads(threads)
            found = model([prepared.tensor.to(self._device) for prepared, _ in rows])
        return [self._detections(one, *row) for one, row in zip(found, rows, strict=True)]

    def describe(self) -> dict[str, str]:
        """See `Network`."""
        return {"engine": "eager", "precision": "fp32", "device": self._device}

    def _detections(self, found: Mapping[str, Any], prepared: Prepared, options: Options) -> Detections:
        boxes, scores = (found[key].float().cpu().numpy() for key in ("boxes", "scores"))
        classes = found["labels"].cpu().numpy().astype(np.int64) - self._offset
        wanted = classes >= 0
        if options.classes is not None:
            wanted &= np.isin(classes, list(options.classes))
        chosen = np.flatnonzero(wanted)
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")][: options.max_detections]
        scale = np.array([prepared.place.scale_x, prepared.place.scale_y] * 2, dtype=np.float32)
        return Detections(boxes[chosen] / scale, scores[chosen], classes[chosen], prepared.size)


def load(name: str, tensors: Mapping[str, Any], weights: Path, config: DetectionConfig) -> TorchvisionDetector:
    """The detector `name`, without its prefix, filled with the tensors of `weights`.

    Raises:
        LoadFailed: torchvision has no such detector, or the tensors or names do not fit it.
    """
    from torchvision.models import detection
    from torchvision.models.detection._utils import overwrite_eps

    if name not in DETECTORS:
        raise LoadFailed(f"{PREFIX}{name}", f"expected one of {', '.join(PREFIX + one for one in DETECTORS)}")
    head = DETECTORS[name]
    if head.key not in tensors or tensors[head.key].shape[0] % head.rows:
        raise LoadFailed(
            weights, f"does not fit {PREFIX}{name}: missing: {head.key}, which tells the number of classes"
        )
    count = tensors[head.key].shape[0] // head.rows
    with Uninitialised():
        model = getattr(detection, name)(
            weights=None, weights_backbone=None, num_classes=count, **config.sizes()
        ).eval()
    fill(model, tensors, weights, f"{PREFIX}{name}")
    if config.norm_eps is not None:
        overwrite_eps(model, config.norm_eps)
    model.requires_grad_(False)
    names = resolved(config, weights, count, background=head.background, coco=_coco)
    return TorchvisionDetector(model, names)


def _coco() -> tuple[str, ...]:
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

    return tuple(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])


def _limit(options: Options) -> int:
    return options.max_detections if options.classes is None else _ALL


def _resized(prepared: Prepared) -> tuple[int, int]:
    """Height and width before the padding."""
    place, (height, width) = prepared.place, prepared.size
    return round(height * place.scale_y), round(width * place.scale_x)


def _with(model: Any, options: Options, sizes: list[tuple[int, int]]) -> Any:
    """The model with these thresholds, for pictures that its transform has prepared; all parameters are shared."""
    made = copy.copy(model)
    made._modules = {**model._modules, "transform": _prepared(sizes)}
    thresholds = made
    if "roi_heads" in made._modules:
        thresholds = made._modules["roi_heads"] = copy.copy(model.roi_heads)
    thresholds.score_thresh = options.confidence
    thresholds.nms_thresh = options.iou
    thresholds.detections_per_img = _limit(options)
    return made


def _prepared(sizes: list[tuple[int, int]]) -> Any:
    """In the place of torchvision's transform."""
    import torch
    from torchvision.models.detection.image_list import ImageList

    class _AsTheyAre(torch.nn.Module):
        def forward(self, images: list[Any], targets: Any = None) -> tuple[Any, Any]:
            return ImageList(torch.stack(images), sizes), targets

        def postprocess(self, result: Any, image_sizes: Any, original_sizes: Any) -> Any:
            """Nothing: who asked knows where its picture lies."""
            return result

    return _AsTheyAre()
