"""Prepared images for calibrating int8 and for comparing engines. Made by the task, consumed by `choose.py`."""

from dataclasses import dataclass

from moorage_predictor.engine.backend import Float32s


@dataclass(frozen=True)
class Calibration:
    """Two sets, so that no engine is judged by the images that it was fitted to."""

    fitting: Float32s
    """[n, 3, height, width]: int8's ranges are taken from these."""
    judging: Float32s
    """[n, 3, height, width]: answers are compared on these."""
    photos: int
    """So many of them, the first, are Moorage's own photos; every one must get the class that it gets in fp32."""
    source: str
    """Where they come from, for the log and the model's configuration."""
