"""timm's architectures by name, each from the one file that defines it. Called by `network.load` and the labels.

    name ──> the file below timm/models whose text registers it ──> lean_timm: that file and timm's layers, 0.1 s
                └─ not found, or it does not import ──────────────> all of timm and torchvision, seconds; logged once

timm's Any stays Any here: it has no types.
"""

import ast
import difflib
import logging
import re
import threading
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_log = logging.getLogger(__name__)

_REGISTERED: Final = re.compile(r"\n@register_model\b.*\ndef (\w+)\(")
_RENAMED: Final = re.compile(r"\nregister_model_deprecations\(__name__, (\{.*?\n\})\)", re.DOTALL)
_UNFIT: Final = (TypeError, RuntimeError, AssertionError, ValueError)
"""What timm's constructors raise where the arguments do not suit the architecture."""

_gave_up = threading.Event()
"""Set once all of timm is imported: from then on it is used for every architecture."""


def exists(name: str) -> bool:
    """Whether timm has this architecture; a tag (`.a1_in1k`) is not looked at."""
    return bool(_registry(name).is_model(name))


def close_matches(name: str, count: int = 3) -> list[str]:
    """The architectures with the most similar names, best first."""
    return difflib.get_close_matches(_untagged(name), _registry(name).list_models(), n=count)


def pretrained_cfg(name: str) -> Any:
    """timm's PretrainedCfg of an existing architecture with or without a tag; None if it has none.

    Raises:
        RuntimeError: the architecture has no such tag.
    """
    return _registry(name).get_pretrained_cfg(name)


def build(name: str, num_classes: int, **args: Any) -> Any:
    """The torch.nn.Module of an existing architecture. Its parameters hold nothing yet, its buffers are right.

    Raises:
        TypeError, RuntimeError, AssertionError, ValueError: the arguments do not suit the architecture.
    """
    _registry(name)
    try:
        return _create(name, num_classes, args)
    except _UNFIT:
        raise
    except Exception as error:
        if _gave_up.is_set():
            raise
        _give_up(name, error)
        return _create(name, num_classes, args)


def data_config(stated: dict[str, Any]) -> dict[str, Any]:
    """timm's data config: what is stated, and timm's defaults for the rest."""
    resolved: dict[str, Any] = _timm("data.config").resolve_data_config(args={}, pretrained_cfg=stated)
    return resolved


def imagenet_names(num_classes: int) -> tuple[str, ...] | None:
    """The class names of the ImageNet subset with so many classes; None if there is no such subset."""
    info = _timm("data.imagenet_info")
    subset = info.infer_imagenet_subset({"num_classes": num_classes})
    return tuple(info.ImageNetInfo(subset).label_descriptions()) if subset else None


def _create(name: str, num_classes: int, args: dict[str, Any]) -> Any:
    from moorage_predictor.engine.uninitialised import Uninitialised

    with Uninitialised():
        return _timm("models._factory").create_model(name, pretrained=False, num_classes=num_classes, **args)


def _registry(name: str) -> ModuleType:
    """timm's registry, with this architecture in it if there is one."""
    if not _gave_up.is_set():
        try:
            _timm(f"models.{_files()[_untagged(name)]}")
            registry = _timm("models._registry")
            if registry.is_model(name):
                return registry
            raise LookupError(name)
        except Exception as error:  # noqa: BLE001 - whatever another version of timm does, its own import may still work
            _give_up(name, error)
    return _timm("models._registry")


@cache
def _files() -> dict[str, str]:
    """Architecture, or an old name of one -> the module below timm.models that registers it."""
    from moorage_predictor.engine import lean_timm

    found = {}
    for file in sorted(path for folder in lean_timm.__path__ for path in (Path(folder) / "models").glob("[!_]*.py")):
        text = file.read_text(encoding="utf-8")
        renamed = (name for block in _RENAMED.findall(text) for name in ast.literal_eval(block))
        found.update(dict.fromkeys([*_REGISTERED.findall(text), *renamed], file.stem))
    return found


def _untagged(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def _timm(module: str) -> ModuleType:
    """One of timm's modules."""
    return import_module(f"{'timm' if _gave_up.is_set() else 'moorage_predictor.engine.lean_timm'}.{module}")


def _give_up(name: str, error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}"
    _log.warning("importing all of timm, which takes seconds", extra={"architecture": name, "reason": reason})
    import_module("timm")
    _gave_up.set()
