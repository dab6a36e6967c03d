"""How images must be prepared for these weights: `config.json` beside them in timm's hub format, and the merged result.

Called by `network.load`; `tasks.image_classification.preprocess` follows the resulting `DataConfig`.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moorage_predictor.errors import LoadFailed

FILE_NAME: Final = "config.json"
_MAX_BYTES: Final = 16 << 20
_MAX_SIDE: Final = 4096

# Pixels are 0 to 1 here. Every config of timm's is far within these: means up to 0.5, deviations from 0.14 to 1, crops of
# 0.875 to 1.15. What is beyond makes infinities of float32, or memory of a size that no machine has.
Mean = Annotated[float, Field(ge=-1000, le=1000)]
Deviation = Annotated[float, Field(ge=1e-6, le=1000)]
CropShare = Annotated[float, Field(ge=0.01, le=2)]
Means = tuple[Mean, Mean, Mean]
Deviations = tuple[Deviation, Deviation, Deviation]
Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]


class DataOverrides(BaseModel):
    """The part of a data config that a file or a layout states; what is None comes from the architecture."""

    model_config = ConfigDict(frozen=True)

    input_size: tuple[Literal[3], int, int] | None = None
    mean: Means | None = None
    std: Deviations | None = None
    interpolation: Interpolation | None = None
    crop_pct: CropShare | None = None
    crop_mode: Literal["center", "squash", "border"] | None = None

    def stated(self) -> dict[str, Any]:
        """What is not None, under timm's names."""
        return self.model_dump(include=set(DataOverrides.model_fields), exclude_none=True)


class DataConfig(BaseModel):
    """Everything that turns pixels into the network's input."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    input_size: tuple[Literal[3], Annotated[int, Field(ge=1, le=_MAX_SIDE)], Annotated[int, Field(ge=1, le=_MAX_SIDE)]]
    mean: Means
    std: Deviations
    interpolation: Interpolation
    crop_pct: CropShare
    crop_mode: Literal["center", "squash", "border"] = "center"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.input_size[1], self.input_size[2]


class _Pretrained(DataOverrides):
    num_classes: int | None = Field(default=None, ge=0)


class ModelArgs(BaseModel):
    """What a config.json may set of an architecture. A closed set: timm's builder takes paths and URLs too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    img_size: int | tuple[int, int] | None = None
    global_pool: str | None = Field(default=None, pattern=r"^[a-z]{0,16}$")


class ConfigFile(BaseModel):
    """What stands in `config.json`, of one task; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    @classmethod
    def beside(cls, weights: Path) -> Self:
        """The config in the weight file's folder; an empty one if there is none.

        Raises:
            LoadFailed: it is there and cannot be used.
        """
        file = weights.parent / FILE_NAME
        if not file.is_file():
            return cls()
        if file.stat().st_size > _MAX_BYTES:
            raise LoadFailed(file, f"larger than {_MAX_BYTES} bytes")
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise LoadFailed(file, f"cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            raise LoadFailed(file, f"{field}: {first['msg']}") from error


class HubConfig(ConfigFile):
    """`config.json` as timm's hub writes it; unknown fields are ignored, as timm ignores them."""

    architecture: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_.]{0,98}$")
    num_classes: int | None = Field(default=None, ge=0, le=1_000_000)
    global_pool: str | None = Field(default=None, pattern=r"^[a-z]{0,16}$")
    label_names: tuple[str, ...] | None = None
    label_descriptions: dict[str, str] | None = None
    model_args: ModelArgs = ModelArgs()
    pretrained_cfg: _Pretrained = _Pretrained()

    def build_args(self) -> dict[str, Any]:
        """Keyword arguments for timm's builder."""
        args = self.model_args.model_dump(exclude_none=True)
        if self.global_pool:
            args.setdefault("global_pool", self.global_pool)
        return args
