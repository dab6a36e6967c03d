"""The tensors of a weight file into a detector's module. Called by `torchvision_detectors.py` and `ultralytics_detectors.py`.

With torch's own loading and its hooks, because torchvision renames there what its older versions have written.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moorage_predictor.errors import LoadFailed

_LISTED: Final = 5
_NOT_NEEDED: Final = "num_batches_tracked"
"""Frozen normalisation lacks it, and evaluation does not use it."""


def fill(model: Any, tensors: Mapping[str, Any], weights: Path, name: str) -> None:
    """Every parameter and buffer; halves become float32. `name` is the architecture, for messages.

    Raises:
        LoadFailed: a tensor is missing, unexpected, of another shape, or contains NaN.
    """
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and bool(tensor.sum().isnan()) and bool(tensor.isnan().any()):
            raise LoadFailed(weights, f"{key} contains NaN")
    state = {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if "size mismatch" in line]
        raise LoadFailed(weights, f"does not fit {name}: {lines[0] if lines else error}") from error
    missing, unexpected = ([key for key in keys if not key.endswith(_NOT_NEEDED)] for keys in (missing, unexpected))
    if missing or unexpected:
        raise LoadFailed(
            weights, f"does not fit {name}: {_list('missing', missing)}; {_list('unexpected', unexpected)}"
        )


def _list(what: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return f"{what}: {', '.join(keys[:_LISTED]) or 'none'}{more}"
