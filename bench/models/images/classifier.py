"""Files of images -> their five best classes, fp32 and eager: what every peer of `make bench-predictor` calls.

The folder of a model holds timm's `config.json` and `model.safetensors`; our predictor reads the very same. Preparing an
image is the arithmetic of timm's evaluation transform, with Pillow and numpy.
"""

import io
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench.models.images import networks
from PIL import Image
from safetensors.torch import load_file

TOP = 5
FOLDER_VARIABLE, THREADS_VARIABLE = "BENCH_IMAGE_MODEL", "BENCH_TORCH_THREADS"
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Preparation:
    """The shortest side to size/crop_pct, the middle, normalised: float32 [3, size, size]."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._size = config["input_size"][1]
        self._short = math.floor(self._size / config["crop_pct"])
        self._resampling = RESAMPLING[config["interpolation"]]
        self._mean, self._std = (np.array(config[name], dtype=np.float32).reshape(3, 1, 1) for name in ("mean", "std"))

    def __call__(self, image: Image.Image) -> np.ndarray:
        width, height = image.size
        if width >= height:
            width, height = int(self._short * width / height), self._short
        else:
            width, height = self._short, int(self._short * height / width)
        resized = image.resize((width, height), self._resampling)
        left, top = round((width - self._size) / 2), round((height - self._size) / 2)
        cropped = resized.crop((left, top, left + self._size, top + self._size))
        pixels = np.asarray(cropped, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
        return np.ascontiguousarray((pixels - self._mean) / self._std)


class Classifier:
    """One network. Calls may run in parallel."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        self.prepare = Preparation(config["pretrained_cfg"])
        self.network = networks.empty(config["architecture"], config["num_classes"])
        self.network.load_state_dict(load_file(folder / "model.safetensors"), assign=True)

    @classmethod
    def from_environment(cls) -> "Classifier":
        """The model and the threads that the bench chose; torch's threads are those of this process."""
        torch.set_num_threads(int(os.environ[THREADS_VARIABLE]))
        return cls(Path(os.environ[FOLDER_VARIABLE]))

    def prepared(self, file: bytes) -> np.ndarray:
        """float32 [3, size, size] of one file."""
        return self.prepare(Image.open(io.BytesIO(file)).convert("RGB"))

    def probabilities(self, batch: np.ndarray) -> torch.Tensor:
        """[n, classes]."""
        with torch.inference_mode():
            return torch.softmax(self.network(torch.from_numpy(batch)), dim=1)

    def __call__(self, files: Sequence[bytes]) -> list[list[dict[str, Any]]]:
        """The best classes of each, best first, as `class_id` and `confidence`."""
        best = self.probabilities(np.stack([self.prepared(file) for file in files])).topk(TOP)
        return [
            [{"class_id": number, "confidence": value} for number, value in zip(numbers, values, strict=True)]
            for numbers, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
