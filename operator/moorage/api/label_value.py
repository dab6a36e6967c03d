"""What Kubernetes takes as the value of a label, and what a version's name must therefore be."""

from typing import Final

LABEL_VALUE: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
"""Without its length, at most 63."""
