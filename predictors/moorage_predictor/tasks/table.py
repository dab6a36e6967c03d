"""The tasks that the predictor does by itself, a row each. Read by `loading`, `wire/adapt.py` and `wire/server.py`.

Modules are named as text: nothing of a task is imported before it is served. The words are those of `BUILT_IN_TASKS`.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final


@dataclass(frozen=True)
class Task:
    """Where a task's two halves are, each as `module:name`, and what clients are told of it."""

    load: str
    """`(settings, path, report, cancelled) -> loaded`: reads the files at `path`; in the thread that loads."""
    serve: str
    """`(loaded, settings) -> wire.pipeline.Model`: maps V1's dictionaries and V2's requests to what was loaded."""
    platform: str
    """`platform` in the V2 metadata."""
    files: tuple[str, ...] = ()
    """Patterns of the files that its models may have beside those of `storage/fetcher.py`."""

    def loader(self) -> Any:
        """Import what loads."""
        return _named(self.load)

    def model(self) -> Any:
        """Import the class that serves."""
        return _named(self.serve)


_TABLE: Final = {
    "image-classification": Task(
        load="moorage_predictor.loading:classifier",
        serve="moorage_predictor.wire.model:ClassifierModel",
        platform="moorage_timm",
    ),
    "object-detection": Task(
        load="moorage_predictor.tasks.object_detection.load:load",
        serve="moorage_predictor.wire.detection:DetectorModel",
        platform="moorage_detection",
        files=("*.onnx", "*.pt2", "*.torchscript"),
    ),
    "tabular": Task(
        load="moorage_predictor.tasks.tabular.load:load",
        serve="moorage_predictor.wire.tabular:TableModel",
        platform="moorage_tabular",
        files=(
            "*.skops",
            "*.ubj",
            "*.onnx",
            "*.pt2",
            "*.model",
            "*.xgb",
            "*.bst",
            "*.lgb",
            "*.pkl",
            "*.pickle",
            "*.joblib",
            "*.csv",
            "MLmodel",
        ),
    ),
}


_RUNTIMES: Final = {
    "torchserve": Task(
        load="moorage_predictor.tasks.torchserve.load:load",
        serve="moorage_predictor.wire.torchserve:TorchServeModel",
        platform="moorage_torchserve",
    ),
}
"""Words of `--runtime` under which image classification is another's work."""


def of(task: str, runtime: str = "torch") -> Task:
    """The row of a word of `--task` that is no class of the user's."""
    return _RUNTIMES.get(runtime) or _TABLE[task]


def words() -> tuple[str, ...]:
    """All of them."""
    return tuple(_TABLE)


def _named(text: str) -> Any:
    module, _, name = text.partition(":")
    return getattr(import_module(module), name)
