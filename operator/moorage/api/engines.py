"""The settings of what runs an image classifier's forward pass. The number format is in `predictor.py`, among what pods are told."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

PRECISIONS_OF: Final = {
    "auto": ("fp32", "bf16", "fp16", "int8", "auto"),
    "eager": ("fp32", "bf16", "fp16", "auto"),
    "compile": ("fp32", "bf16"),
    "aot": ("fp32", "bf16", "auto"),
    "onnxruntime": ("fp32", "auto"),
    "openvino": ("fp32", "bf16", "int8", "auto"),
}
"""What each engine computes in."""


class EngineSettings(BaseModel):
    """Without any of them torch itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["auto", "eager", "compile", "aot", "onnxruntime", "openvino"] | None = Field(
        default=None,
        description="What runs the forward pass; `auto` measures those that are installed. Without it torch itself (eager), "
        "for int8 openvino.",
    )
    engine_cache_dir: str | None = Field(
        default=None,
        min_length=1,
        description="Folder for what engines have built and measured, so that the next start need not. Without it "
        "moorage/engines in the user's cache folder.",
    )
    auto_budget_s: float = Field(
        default=60.0, ge=1, le=3600, description="How long `auto` may measure before it takes the best so far."
    )
    calibration_dir: str | None = Field(
        default=None,
        min_length=1,
        description="Folder of images as the model will see them: int8 is calibrated with them and every candidate compared "
        "on them. Without it generated ones, which is worse.",
    )
