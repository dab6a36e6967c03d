"""timm's own files under another package name, without what its `__init__` files pull in. Imported by `architectures`.

`import timm` runs every model file and torchvision, seconds and a hundred megabytes for classes that nobody asked for.
This module is a package whose folder is timm's: `lean_timm.models.resnet` runs `timm/models/resnet.py` and what that
imports, no more. Nothing is ever put under the names `timm` or `torchvision`, so whoever imports those, before, later
or meanwhile, gets the real ones; the price is a second copy of the few modules where both are used.

    lean_timm.models.resnet ──> _Finder ──> _Loader: the file's code, with an `__import__` of our own
                                              timm.X                    -> lean_timm.X
                                              torchvision.ops.misc      -> a stand-in for the one name that is used
                                              huggingface_hub, ...      -> ImportError, which timm provides for
"""

import builtins
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

_TIMM: Final = "timm"
_BARE: Final = {f"{__name__}.models": None, f"{__name__}.data": "constants"}
"""Packages whose own `__init__` is not run -> the module whose names they offer instead."""
_ABSENT: Final = ("huggingface_hub", "torchvision.models")
"""timm looks for them with `except ImportError` and does without: downloads, and features cut out of a graph."""


class FrozenBatchNorm2d:
    """Stands for torchvision's class, which timm compares with and builds only where training code asks for it."""

    def __init__(self, *_: object, **__: object) -> None:
        raise ImportError("torchvision's FrozenBatchNorm2d needs the full import of timm")


_TORCHVISION_OPS_MISC: Final = ModuleType("torchvision.ops.misc")
_TORCHVISION_OPS_MISC.__dict__["FrozenBatchNorm2d"] = FrozenBatchNorm2d


def _import(
    name: str,
    globals: dict[str, Any] | None = None,
    locals: dict[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """What an import statement in one of timm's files calls."""
    if level == 0:
        if name == _TIMM or name.startswith(f"{_TIMM}."):
            name = __name__ + name[len(_TIMM) :]
            if not fromlist:  # `import timm.x` binds the first part, and that is this module
                importlib.import_module(name)
                return sys.modules[__name__]
        elif name == _TORCHVISION_OPS_MISC.__name__:
            return _TORCHVISION_OPS_MISC
        elif name.startswith(_ABSENT):
            raise ImportError(f"{name} is not imported here", name=name)
    return builtins.__import__(name, globals, locals, fromlist or (), level)


class _Loader(SourceFileLoader):
    """Runs one of timm's files, from the bytecode that Python has cached for it."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        if module.__name__ in _BARE:
            if source := _BARE[module.__name__]:
                names = vars(importlib.import_module(f"{module.__name__}.{source}"))
                vars(module).update({name: value for name, value in names.items() if name.isupper()})
            return
        # An import statement calls what its module's builtins hold, also later, inside a function.
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds what lies below this module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that `PathFinder` gives, with our loader."""
        if not fullname.startswith(f"{__name__}."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


def _folders() -> list[str]:
    spec = find_spec(_TIMM)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("timm is not installed", name=_TIMM)
    return list(spec.submodule_search_locations)


__path__ = _folders()  # this is what makes a module a package
sys.meta_path.insert(0, _Finder())
__version__: str = importlib.import_module(f"{__name__}.version").__version__
