"""A model of your own with all five hooks: it reads a handwritten digit by the three most alike that it knows."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

SIDE = 8
LARGEST = 1000


class Nearest:
    """Serve it as `nearest.py:Nearest`, or in a ModelDeployment as `class: nearest:Nearest`."""

    # What the V2 protocol tells callers of the model.
    inputs = [{"name": "picture", "datatype": "BYTES", "shape": [-1]}]
    outputs = [
        {"name": "digit", "datatype": "INT64", "shape": [-1]},
        {"name": "votes", "datatype": "FP32", "shape": [-1]},
    ]

    def setup(self, model_dir: str) -> None:
        """Once, before the model is ready: read the files of `storageUri`."""
        known = load_file(Path(model_dir) / "model.safetensors")
        self.pictures = known["pictures"].astype(np.float32)  # [n, 64]
        self.digits = known["digits"]  # [n]

    def decode(self, item: Any) -> np.ndarray:
        """One item of a request -> one row, [64]. A ValueError is told to the caller; other errors are logged."""
        try:
            picture = Image.open(io.BytesIO(item), formats=["PNG", "JPEG"])
            if max(picture.size) > LARGEST:
                raise ValueError(f"expected at most {LARGEST}x{LARGEST} pixels")
            small = picture.convert("L").resize((SIDE, SIDE))
        except (OSError, SyntaxError, TypeError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError("expected a PNG or JPEG file") from error
        return np.asarray(small, dtype=np.float32).ravel()

    def batch(self, rows: list[np.ndarray]) -> np.ndarray:
        """Rows of several requests -> what `predict` takes, [m, 64]."""
        return np.stack(rows)

    def predict(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """All rows at once; the first dimension of every result counts them."""
        distances = (self.pictures**2).sum(1) - 2 * batch @ self.pictures.T  # squared, but for what all of a row share
        nearest = self.digits[np.argsort(distances, axis=1, kind="stable")[:, :3]]
        votes = (nearest[:, :, None] == np.arange(10)).mean(1)
        return {"digit": votes.argmax(1), "votes": votes.max(1)}

    def encode(self, row: dict[str, Any]) -> dict[str, Any]:
        """One row of results -> the answer."""
        return {"digit": int(row["digit"]), "votes": round(float(row["votes"]), 2)}
