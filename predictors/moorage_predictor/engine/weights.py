"""A safetensors file -> the parameters and buffers of a module, each tensor in memory once. Steps of `network.load`.

    read: the file is mapped; nothing of it is in memory yet, unless it must be copied
    fill: names, shapes and NaN are checked, then every parameter becomes a view of what was read

| the file                                              | the weights are                                        |
|-------------------------------------------------------|--------------------------------------------------------|
| ours: fetched or converted; or nobody may write to it | the pages of its cache, shared by processes that map it |
| one that somebody may write over                      | copied: a mapping would change or break under the model |

In both cases a tensor of another type than the module's, or at an odd address, is copied.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from moorage.api.predictor import LoadProgress
from moorage_predictor.errors import LoadFailed

Tensors = Mapping[str, Any]  # name -> torch.Tensor; importing torch for its type would cost seconds here
Report = Callable[[LoadProgress], None]

_LISTED: Final = 5
_REPORTS: Final = 20
_NOT_NEEDED: Final = "num_batches_tracked"
"""Old checkpoints lack it, and evaluation does not use it."""


def read(file: Path, named: Path) -> Tensors:
    """The tensors in `file`; messages call it `named`.

    Raises:
        LoadFailed: it is not a complete safetensors file, or an empty one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: Tensors = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise LoadFailed(named, f"not a complete safetensors file: {reason}") from error
    if not tensors:
        raise LoadFailed(named, "the file holds no tensors")
    changes = _may_change(file)
    return {key: _computable(tensor, changes, named, key) for key, tensor in tensors.items()}


def _computable(tensor: Any, copy: bool, named: Path, key: str) -> Any:
    """The tensor, or a copy of it. The 8-bit floating point types are only for storing: torch cannot even add them up."""
    import torch

    if tensor.is_complex() or "float4" in str(tensor.dtype):
        raise LoadFailed(
            named,
            f"{key}: expected numbers of a type like float32, bfloat16 or float8_e4m3fn, found {str(tensor.dtype).removeprefix('torch.')}; "
            "save the weights as one of those",
        )
    if tensor.is_floating_point() and tensor.element_size() == 1:
        return tensor.to(torch.float32)
    return tensor.clone() if copy else tensor


def fill(module: Any, tensors: Tensors, weights: Path, name: str, report: Report) -> None:
    """Put every tensor into its place in the module (a torch.nn.Module), strictly.

    Raises:
        LoadFailed: a tensor is missing, unexpected, of another shape, or contains NaN.
    """
    targets = module.state_dict()
    missing = [key for key in targets if key not in tensors and not key.endswith(_NOT_NEEDED)]
    unexpected = [key for key in tensors if key not in targets]
    if missing or unexpected:
        raise LoadFailed(
            weights, f"does not fit timm/{name}: {_list('missing', missing)}; {_list('unexpected', unexpected)}"
        )
    total = len(tensors)
    for done, (key, tensor) in enumerate(tensors.items(), start=1):
        if tensor.shape != targets[key].shape:
            shapes = f"expected {list(targets[key].shape)}, found {list(tensor.shape)}"
            raise LoadFailed(weights, f"does not fit timm/{name}: {key}: {shapes}")
        if _has_nan(tensor):
            raise LoadFailed(weights, f"{key} contains NaN")
        _assign(module, key, _usable(tensor, targets[key].dtype))
        if done == total or done % max(1, total // _REPORTS) == 0:
            report(LoadProgress("weights", done, total))


def _may_change(file: Path) -> bool:
    """Whether a write into the file is to be feared. It is not where this process keeps what it fetched itself."""
    if file.resolve().is_relative_to(Path(tempfile.gettempdir()).resolve()):
        return False
    read_only = getattr(os, "ST_RDONLY", 0)
    return bool(file.stat().st_mode & 0o222) and not (hasattr(os, "statvfs") and os.statvfs(file).f_flag & read_only)


def _has_nan(tensor: Any) -> bool:
    # One NaN makes the sum one. So do two infinities: only then is it worth a look at each value.
    return tensor.is_floating_point() and bool(tensor.sum().isnan()) and bool(tensor.isnan().any())


def _usable(tensor: Any, dtype: Any) -> Any:
    """The tensor itself if it has that type and lies where the processor expects it."""
    if tensor.dtype != dtype:
        return tensor.to(dtype)
    return tensor if tensor.data_ptr() % tensor.element_size() == 0 else tensor.clone()


def _assign(module: Any, key: str, tensor: Any) -> None:
    """What `load_state_dict(assign=True)` does, without the hooks by which a module may rename or resize weights."""
    path, _, leaf = key.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        from torch.nn import Parameter

        tensor = Parameter(tensor, requires_grad=False)
    setattr(owner, leaf, tensor)


def _list(what: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return f"{what}: {', '.join(keys[:_LISTED]) or 'none'}{more}"
