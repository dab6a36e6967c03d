"""What goes between the steps of the task. Made in `wire/`, `pictures.py` and the detectors."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.tasks.object_detection.options import Options

Pixels = NDArray[np.uint8]
"""RGB, [height, width, 3], upright."""


@dataclass(frozen=True)
class Prepared:
    """One picture as its network takes it."""

    tensor: Any
    """torch.Tensor, float32 [3, height, width] of the network's input."""
    size: tuple[int, int]
    """Height and width of the picture itself, upright."""
    place: "Place"


@dataclass(frozen=True)
class Place:
    """Where the picture lies in the network's input: x_input = x * scale_x + left, and so for y."""

    scale_x: float
    scale_y: float
    left: float = 0.0
    top: float = 0.0


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, the surest first."""

    boxes: NDArray[np.float32]
    """[k, 4]: left, top, right, bottom in pixels of the upright picture, within it."""
    scores: NDArray[np.float32]
    """[k], from 0 to 1."""
    class_id: NDArray[np.int64]
    """[k], from 0; a background is no class."""
    size: tuple[int, int]
    """Height and width of the picture."""

    def __len__(self) -> int:
        return len(self.scores)


class Network(Protocol):
    """A loaded network, of whichever kind. Safe to call from several threads."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes."""

    @property
    def most_rows(self) -> int | None:
        """Of one forward pass; None: as many as one likes."""

    def prepare(self, pixels: Pixels) -> Prepared:
        """One picture for `forward`; in a decode thread, on one core.

        Raises:
            ImageInvalid: it is too narrow for the network.
        """

    def key(self, prepared: Prepared, options: Options) -> Hashable:
        """Pictures with equal keys may share a forward pass, and get the same answers as alone."""

    def forward(self, rows: Sequence[tuple[Prepared, Options]], threads: int) -> list[Detections]:
        """The detections of each picture, made with so many cores."""

    def describe(self) -> dict[str, str]:
        """How it runs, for the model's configuration: `engine` and `precision` at least."""
