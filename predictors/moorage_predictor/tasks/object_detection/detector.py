"""The task itself: pictures in, what is found in each. Its steps are called by `stages.py`, in threads."""

from collections.abc import Sequence

import numpy as np

from moorage_predictor.engine import cores
from moorage_predictor.tasks.image_classification import Images, Limits
from moorage_predictor.tasks.object_detection.options import Options
from moorage_predictor.tasks.object_detection.pictures import Pictures
from moorage_predictor.tasks.object_detection.types import Detections, Network, Prepared


class Detector:
    """One loaded model. Safe to call from several threads."""

    def __init__(self, network: Network, options: Options, limits: Limits) -> None:
        """`options` are those of a request that asks for none."""
        self.network = network
        self.pictures = Pictures(limits)
        self.options = options
        self.names = network.names

    def __call__(self, inputs: Images, options: Options | None = None) -> list[Detections]:
        """Decode, prepare, run; one picture after the other.

        Raises:
            InvalidInput: a picture is not acceptable; the message says which and why.
        """
        asked = options or self.options
        rows = [(self.prepare(inputs, index), asked) for index in range(self.pictures.count(inputs))]
        return [self.forward([row], cores.available())[0] for row in rows]

    def prepare(self, inputs: Images, index: int) -> Prepared:
        """One picture for the network.

        Raises:
            InvalidInput: it is not acceptable.
        """
        return self.network.prepare(self.pictures.pixels(inputs, index))

    def forward(self, rows: Sequence[tuple[Prepared, Options]], threads: int) -> list[Detections]:
        """The detections of pictures whose `network.key` is equal, within their pictures and of a size."""
        return [_within(found) for found in self.network.forward(rows, threads)]


def _within(found: Detections) -> Detections:
    """Boxes cut at the picture's borders; those with nothing in it are left out."""
    height, width = found.size
    boxes = np.clip(found.boxes, 0, np.array([width, height, width, height], dtype=np.float32)).astype(np.float32)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return Detections(boxes[kept], found.scores[kept], found.class_id[kept], found.size)
