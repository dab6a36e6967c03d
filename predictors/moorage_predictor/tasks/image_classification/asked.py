"""What one request wants beside the usual classes. Made by `wire/options.py`, read by `stages`, `classifier` and the answers.

A request that wants nothing of it has `PLAIN`, and goes the usual way.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from moorage_predictor.engine.inspection import FeatureKind


@dataclass(frozen=True)
class Attention:
    """Which attention weights, and in which form."""

    layer: int = -1
    """From 0; negative ones count from the last."""
    per_head: bool = False
    registers: bool = True
    """False: without register tokens, each row summing to 1 again."""
    form: Literal["tokens", "map"] = "tokens"
    """All tokens by all tokens; or how the class token looks at each pixel of the network's input."""
    numbers: bool = True
    overlay: bool = False
    """Drawn over the picture, as PNG."""
    as_text: bool = False
    """Will the numbers be written out? That takes several times as much memory, and time."""


@dataclass(frozen=True)
class Asked:
    """All of it."""

    top_k: int | None = None
    """None: as the settings say."""
    threshold: float = 0.0
    """Classes of less confidence are left out."""
    features: "FeatureKind | None" = None
    normalised: bool = False
    """Features of length 1."""
    attention: Attention | None = None

    @property
    def reranks(self) -> bool:
        """Are other classes wanted than those of most requests?"""
        return self.top_k is not None or self.threshold > 0

    @property
    def inspects(self) -> bool:
        """Is more wanted than a forward pass gives by itself?"""
        return self.features is not None or self.attention is not None


PLAIN: Final = Asked()
