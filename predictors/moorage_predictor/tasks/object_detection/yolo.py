"""A detector with raw YOLO output, whatever runs it. Made by `exported.py`.

letterboxed (in a decode thread) -> rows -> Runner -> raw_yolo.boxes -> back to the picture's pixels
"""

from collections.abc import Hashable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.tasks.object_detection import raw_yolo
from moorage_predictor.tasks.object_detection.config import Layout
from moorage_predictor.tasks.object_detection.letterbox import letterboxed
from moorage_predictor.tasks.object_detection.options import Options
from moorage_predictor.tasks.object_detection.types import Detections, Pixels, Prepared


class Runner(Protocol):
    """A network. Safe to call from several threads."""

    def __call__(self, batch: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
        """Its output, [n, ...], of pictures [n, 3, height, width], made with so many cores.

        Raises:
            RuntimeError: it cannot run such a batch.
        """

    def describe(self) -> dict[str, str]:
        """`engine`, `precision`, `device`."""


class Yolo:
    """One of them. Safe to call from several threads."""

    def __init__(
        self, runner: Runner, layout: Layout, size: tuple[int, int], names: tuple[str, ...], rows: int | None
    ) -> None:
        """`size` is the height and width of the network's input; `rows` of its batch, if it was exported for so many."""
        self._runner = runner
        self._layout = layout
        self._size = size
        self.names = names
        self.most_rows = rows

    def prepare(self, pixels: Pixels) -> Prepared:
        """See `Network`."""
        return letterboxed(pixels, self._size)

    def key(self, prepared: Prepared, options: Options) -> Hashable:
        """All inputs are of one size, and the options come after the pass."""
        return None

    def forward(self, rows: Sequence[tuple[Prepared, Options]], threads: int) -> list[Detections]:
        """See `Network`."""
        pictures = [prepared.tensor.numpy() for prepared, _ in rows]
        batch = np.stack(pictures + pictures[:1] * ((self.most_rows or 0) - len(pictures)))
        return [
            self._detections(raw, *row)
            for raw, row in zip(self._runner(batch, threads)[: len(rows)], rows, strict=True)
        ]

    def describe(self) -> dict[str, str]:
        """See `Network`."""
        height, width = self._size
        return {**self._runner.describe(), "input_size": f"{height}x{width}", "output": self._layout}

    def _detections(self, raw: NDArray[np.float32], prepared: Prepared, options: Options) -> Detections:
        corners, scores, classes = raw_yolo.boxes(raw, self._layout, options)
        known = (classes >= 0) & (classes < len(self.names))  # of a network with its own NMS anything may come
        place = prepared.place
        corner = np.array([place.left, place.top] * 2, dtype=np.float32)
        scale = np.array([place.scale_x, place.scale_y] * 2, dtype=np.float32)
        boxes: NDArray[np.float32] = (corners - corner) / scale
        return Detections(boxes[known], scores[known], classes[known], prepared.size)
