"""A tiny model on disk, and pictures."""

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from moorage_predictor.engine import network

PHOTOS = Path(__file__).parents[2] / "data" / "photos"
NAMES = [f"kind {number}" for number in range(10)]


@pytest.fixture
def photos() -> Path:
    return PHOTOS


@pytest.fixture(scope="session")
def tiny_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return timm.create_model("test_vit", pretrained=False, num_classes=10).state_dict()


@pytest.fixture
def model_dir(tmp_path: Path, tiny_state: dict[str, torch.Tensor]) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(tiny_state, folder / "model.safetensors")
    config = {"architecture": "test_vit", "num_classes": 10, "label_names": NAMES}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def load() -> Callable[..., network.Network]:
    def run(path: Path, architecture: str | None = None, sha256: str | None = None) -> network.Network:
        return network.load(
            path, architecture=architecture, sha256=sha256, report=lambda step: None, cancelled=threading.Event()
        )

    return run


@pytest.fixture
def encode() -> Callable[..., bytes]:
    def run(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
        stream = io.BytesIO()
        image.save(stream, format, **options)
        return stream.getvalue()

    return run
