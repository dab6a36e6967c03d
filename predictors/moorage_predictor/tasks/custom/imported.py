"""`package.module:Class` or `path/to/file.py:Class` -> the class -> one object of it. Called by `loading.py`."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from moorage_predictor.errors import LoadFailed, MoorageError
from moorage_predictor.tasks.custom.hooks import place


def import_class(task: str) -> type:
    """The class that `task` names. The current folder is searched as Python's own `-m` would.

    Raises:
        LoadFailed: there is no such module, file or class, or the module fails.
    """
    where, _, name = task.rpartition(":")
    try:
        module = _from_file(Path(where)) if where.endswith(".py") else _from_name(where)
    except (MoorageError, KeyboardInterrupt):
        raise
    except BaseException as error:  # its own command line, or a panic of an extension
        raise LoadFailed(f"--task {task}", f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        classes = sorted(
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        )
        raise LoadFailed(f"--task {task}", f"{where} has no class {name}; it has {', '.join(classes) or 'none'}")
    return found


def _from_name(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise LoadFailed(f"--task {path}", "no such file")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"moorage_task_{path.stem}"  # a name of its own: a file json.py must not become everybody's json
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LoadFailed(f"--task {path}", "not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def construct(cls: type, model_name: str, folder: Path | None) -> Any:
    """One object: `name` and `model_dir` are given where the constructor takes them, the name first as `kserve.Model` has
    it; then `setup(model_dir)`, if the class has it, with `device` where it takes that.

    Raises:
        LoadFailed: the constructor or `setup` fails.
    """
    path = str(folder) if folder else None
    try:
        taken = inspect.signature(cls).parameters
        arguments: dict[str, Any] = {}
        if "name" in taken:
            arguments["name"] = model_name
        if "model_dir" in taken:
            arguments["model_dir"] = path
        made = cls(**arguments)
    except (MoorageError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise LoadFailed(f"--task {cls.__name__}", f"cannot be constructed: {type(error).__name__}: {error}") from error
    if callable(setup := getattr(made, "setup", None)):
        _set_up(cls, setup, path)
    return made


def _set_up(cls: type, setup: Callable[..., Any], path: str | None) -> None:
    try:
        taken = inspect.signature(setup).parameters
        words = {"device": _device()} if "device" in taken else {}
        setup(*([path] if len(taken) > len(words) else []), **words)
    except (MoorageError, KeyboardInterrupt):
        raise
    except BaseException as error:
        at = f" at {where}" if (where := place(cls, error)) else ""
        raise LoadFailed(f"--task {cls.__name__}", f"setup failed{at}: {type(error).__name__}: {error}") from error


def _device() -> str:
    """Where torch would compute best."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
