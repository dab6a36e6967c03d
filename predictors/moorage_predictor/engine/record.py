"""`engine.json`: which engine was chosen for which weights on which machine, why, and the files it needs.

Written by `choose.py`, read by `artifacts.py`, shown by `moor optimize`. Pure data; imports no engine.
"""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from moorage_predictor.engine import precision
from moorage_predictor.engine.backend import EngineName, Precision
from moorage_predictor.engine.config import DataConfig
from moorage_predictor.engine.files import ENGINE_RECORD

FILE_NAME: Final = ENGINE_RECORD.name
FORMAT: Final = 1
LIBRARIES: Final = {
    "eager": ("torch", "timm"),
    "compile": ("torch", "timm"),
    "aot": ("torch",),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
}
"""Whose versions a choice depends on. A choice among all is not made anew because one that lost has a new version."""


class Key(BaseModel):
    """What a choice holds for. If any of it differs, it is made anew."""

    model_config = ConfigDict(frozen=True)

    weights_sha256: str
    config_sha256: str
    """Of config.json beside the weights; empty if there is none."""
    architecture: str | None
    """As the user stated it."""
    cpu: str
    cpu_flags_sha256: str

    def differences(self, other: "Key") -> list[str]:
        """The names of the fields that differ."""
        return [name for name in Key.model_fields if getattr(self, name) != getattr(other, name)]


class Candidate(BaseModel):
    """One engine in one precision, and what became of it."""

    model_config = ConfigDict(frozen=True)

    engine: EngineName
    precision: Precision
    state: Literal["chosen", "passed", "dropped"]
    reason: str = ""
    """Why it was dropped."""
    untried: bool = False
    """Dropped for what was wrong with the machine just then, such as a full disk: that says nothing about the candidate."""
    ms_single: float | None = None
    """Milliseconds of one image on all cores."""
    ms_loaded: float | None = None
    """Milliseconds an image with every core busy on a batch of its own."""
    agreement: float | None = None
    """Share of the judging images that get the class which fp32 gives them."""
    error: float | None = None
    """Largest difference of a logit from fp32's, over the largest logit."""
    build_s: float | None = None


class Described(BaseModel):
    """The network itself, so that it can be served without building it in torch."""

    model_config = ConfigDict(frozen=True)

    architecture: str
    num_classes: int
    data: DataConfig
    sizes: dict[str, str] = {}
    """Of `info.sizes`; records of before it have none."""


class Record(BaseModel):
    """All of `engine.json`."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = FORMAT
    key: Key
    wanted_precision: str
    wanted_engine: str | None
    chosen: Candidate
    versions: dict[str, str]
    network: Described
    calibration: str
    """Where the images came from that int8 was calibrated with and engines were compared on."""
    candidates: tuple[Candidate, ...]
    files: dict[str, str]
    """The chosen engine's files beside this one, with their sha256."""

    @property
    def provisional(self) -> bool:
        """Whether the next start chooses again, because a candidate had no chance."""
        return any(one.untried for one in self.candidates)

    def describe(self) -> dict[str, str]:
        """The choice, for the log and the model's configuration."""
        told = {"engine_calibration": self.calibration}
        for name, value in (
            ("engine_agreement", self.chosen.agreement),
            ("engine_ms_single", self.chosen.ms_single),
            ("engine_ms_loaded", self.chosen.ms_loaded),
        ):
            if value is not None:
                told[name] = f"{value:.4g}"
        dropped = [f"{one.engine} {one.precision}: {one.reason}" for one in self.candidates if one.state == "dropped"]
        if dropped:
            told["engine_dropped"] = "; ".join(dropped)
        return told


def key_of(weights: Path, weights_sha256: str, architecture: str | None) -> Key:
    """The key of these weights on this machine."""
    config = weights.parent / "config.json"
    flags = " ".join(sorted(precision.cpu_flags()))
    return Key(
        weights_sha256=weights_sha256,
        config_sha256=hashlib.sha256(config.read_bytes()).hexdigest() if config.is_file() else "",
        architecture=architecture,
        cpu=precision.cpu_name(),
        cpu_flags_sha256=hashlib.sha256(flags.encode()).hexdigest(),
    )


def versions_of(engine: str) -> dict[str, str]:
    """Of the libraries that this engine's answers and speed depend on; those that are not installed are left out."""
    found = {}
    for name in LIBRARIES.get(engine, ()):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
