"""A model that takes its time and writes down every row that it computes. For the tests of batching."""

import os
import time
from pathlib import Path

import numpy as np


class Notebook:
    """`x` FP32 [n, 1] -> `y`, twice that."""

    inputs = ({"name": "x", "datatype": "FP32", "shape": [-1, 1]},)
    outputs = ({"name": "y", "datatype": "FP32", "shape": [-1, 1]},)

    def __init__(self) -> None:
        self._seconds = float(os.environ["NOTEBOOK_SECONDS"])
        self._file = Path(os.environ["NOTEBOOK_FILE"])

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Refuses negative rows."""
        x = inputs["x"]
        with self._file.open("a") as file:
            file.write(" ".join(f"{value:g}" for value in x[:, 0]) + "\n")
        time.sleep(self._seconds)
        if (x < 0).any():
            raise ValueError("negative")
        return {"y": 2 * x}
