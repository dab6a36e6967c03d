"""The settings of the tasks that take pictures, `image-classification` and `object-detection`: what is taken and what is told."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PictureSettings(BaseModel):
    """What holds where a request says nothing else; of pictures, what holds in any case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Image classification: whether requests may ask for features and attention. `auto`: where torch itself runs "
        "the network. `on`: beside another engine too, with a second copy of the network in memory.",
    )
    top_k: int = Field(
        default=5, ge=1, le=1000, description="How many classes an answer lists, or features of an explanation."
    )
    confidence_threshold: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Image classification: classes of less confidence are left out, unless a request says other.",
    )
    confidence: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Object detection: boxes with a lower score are left out, unless a request says other.",
    )
    iou: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Object detection: of two boxes of a class that overlap by more than this the less sure one is left out, "
        "unless a request says other.",
    )
    max_detections: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Object detection: most boxes of one picture, unless a request says other.",
    )
    max_image_bytes: int = Field(default=10 * 1024 * 1024, ge=1, description="Largest encoded image, bytes.")
    max_image_side: int = Field(default=4096, ge=1, le=65535, description="Largest width and largest height, pixels.")
