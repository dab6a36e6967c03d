"""Attention weights of one image -> what its request asked for: fewer tokens, a map over the picture, the map drawn on it.

    [heads or 1, tokens, tokens] -> without_registers -> the same, smaller
                                 -> heat_map          -> [heads or 1, height, width] -> overlay -> PNG

Called by `classifier`, in a thread.
"""

import io
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.tasks.image_classification.preprocess import Row

if TYPE_CHECKING:
    from moorage_predictor.engine.inspection import Tokens

Weights = NDArray[np.float32]

_SMALLEST_SIDE: Final = 448
"""Of an overlay: smaller pictures are enlarged by a whole number."""
_STOPS: Final = np.array(
    [(0.0, 68, 1, 84), (0.25, 59, 82, 139), (0.5, 33, 145, 140), (0.75, 94, 201, 98), (1.0, 253, 231, 37)]
)
"""Share of the brightest value; red, green, blue. Five colours of matplotlib's viridis, which the colour-blind tell apart."""
_GREYED: Final = 0.7
"""How far the photo's own colours are taken back, so that the map's stand out."""
_LEAST_OPACITY: Final = 0.15
_MOST_OPACITY: Final = 0.75


def without_registers(weights: Weights, tokens: "Tokens") -> Weights:
    """The weights [heads, n, n] without the rows and columns of register tokens; the rest of each row sums to 1."""
    first = int(tokens.class_token)
    kept = np.r_[:first, first + tokens.registers : tokens.count]
    rest = weights[:, kept][:, :, kept]
    renormalised: Weights = rest / rest.sum(-1, keepdims=True)
    return renormalised


def heat_map(weights: Weights, tokens: "Tokens", size: tuple[int, int]) -> Weights:
    """How the class token looks at the patches, [heads, height, width], interpolated between the patches' middles. A
    pixel has the weight of its whole patch.

    A network without a class token: the mean over the patches, of how each looks at all.
    """
    prefix = tokens.prefix
    looks = weights[:, 0, prefix:] if tokens.class_token else weights[:, prefix:, prefix:].mean(1)
    patches = np.ascontiguousarray(looks).reshape(len(weights), *tokens.grid)
    return np.stack([_resized(patch, size) for patch in patches])


def overlay(heat: Weights, row: Row, data: DataConfig) -> bytes:
    """The part of the photo that the network saw, [3, height, width] as it was prepared, with the map [height, width] over
    it, bright and opaque where it is high; a PNG file."""
    mean, std = (np.array(values, dtype=np.float32).reshape(3, 1, 1) for values in (data.mean, data.std))
    pixels = ((row * std + mean) * 255).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    factor = -(-_SMALLEST_SIDE // min(heat.shape))
    side = (heat.shape[1] * factor, heat.shape[0] * factor)
    photo = np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.BICUBIC), dtype=np.float32)
    photo = photo + _GREYED * (photo.mean(-1, keepdims=True) - photo)
    heat = _resized(heat, (side[1], side[0]))
    low, high = float(heat.min()), float(heat.max())
    share = (heat - low) / (high - low) if high > low else np.zeros_like(heat)
    colours = np.stack([np.interp(share, _STOPS[:, 0], _STOPS[:, channel]) for channel in (1, 2, 3)], axis=-1)
    opacity = (_LEAST_OPACITY + (_MOST_OPACITY - _LEAST_OPACITY) * share)[..., None]
    mixed = (photo * (1 - opacity) + colours * opacity).round().astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(mixed).save(stream, "PNG")
    return stream.getvalue()


def _resized(heat: Weights, size: tuple[int, int]) -> Weights:
    """[rows, columns] at height and width, between the values' middles, never beyond the least and the greatest."""
    height, width = size
    resized: Weights = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR))
    return resized
