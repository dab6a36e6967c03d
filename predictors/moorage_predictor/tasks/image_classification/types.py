"""The three forms in which images arrive. Built in `wire/`, consumed by the classifier."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EncodedImages:
    """JPEG, PNG, BMP, TIFF or WebP files."""

    files: tuple[bytes, ...]


@dataclass(frozen=True)
class PixelImages:
    """uint8 [n, height, width, 3], RGB: decoded by the client, prepared here."""

    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class PreparedImages:
    """float32 [n, 3, height, width]: the network's input as it is."""

    tensor: NDArray[np.float32]


Images = EncodedImages | PixelImages | PreparedImages
