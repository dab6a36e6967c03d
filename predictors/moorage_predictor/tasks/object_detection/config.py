"""`config.json` beside a detector's weights; all of it is optional. Read by `load.py`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from moorage.api.predictor import ARCHITECTURE_PATTERN
from moorage_predictor.engine.config import ConfigFile

Side = Annotated[int, Field(ge=32, le=4096)]
Layout = Literal["yolov8", "yolov5", "end2end"]
"""Of an exported model's output: [n, 4 + classes, boxes], [n, boxes, 5 + classes], or [n, boxes, 6] after its own NMS."""


class DetectionConfig(ConfigFile):
    """What it may say; unknown fields are ignored."""

    architecture: str | None = Field(default=None, pattern=ARCHITECTURE_PATTERN)
    label_names: tuple[str, ...] | None = None
    input_size: tuple[Side, Side] | None = None
    """Height and width of an exported model's input."""
    output: Layout | None = None
    min_size: Side | None = None
    """torchvision's: the shorter side after resizing, pixels."""
    max_size: Side | None = None
    """The longer side at most."""
    norm_eps: Annotated[float, Field(ge=0, le=0.1)] | None = None
    """Of every frozen batch normalisation; torchvision's own COCO_V1 weights of two detectors want 0."""

    def sizes(self) -> dict[str, Any]:
        """What torchvision's constructors are told of resizing."""
        stated = {"min_size": self.min_size, "max_size": self.max_size}
        return {key: value for key, value in stated.items() if value is not None}
