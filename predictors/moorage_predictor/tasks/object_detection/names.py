"""Names of a detector's classes: from config.json, from labels.txt, from the model file, COCO's where the count tells, or
numbers. Called by `load.py` and the detectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage_predictor.engine.config import FILE_NAME as CONFIG
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.object_detection.config import DetectionConfig

FILE_NAME: Final = "labels.txt"
_BACKGROUND: Final = ("__background__", "background")
_COCO: Final = 91
"""Classes of torchvision's detectors for COCO, the background among them."""


@dataclass(frozen=True)
class Names:
    """Of the classes, without a background."""

    names: tuple[str, ...]
    offset: int
    """The network's number of the first of them: 1 where its 0 is the background."""


def given(config: DetectionConfig, weights: Path) -> tuple[tuple[str, ...], Path] | None:
    """What the user has put beside the weights, and in which file.

    Raises:
        LoadFailed: a file that is no text.
    """
    if config.label_names is not None:
        return config.label_names, weights.parent / CONFIG
    file = weights.parent / FILE_NAME
    if not file.is_file():
        return None
    try:
        return tuple(file.read_text(encoding="utf-8").splitlines()), file
    except (OSError, UnicodeDecodeError) as error:
        raise LoadFailed(file, f"cannot be read as UTF-8 lines: {error}") from error


def resolved(
    config: DetectionConfig,
    weights: Path,
    count: int,
    *,
    background: bool = False,
    coco: Callable[[], tuple[str, ...]] | None = None,
    own: Sequence[str] | None = None,
) -> Names:
    """One name for each of the network's `count` classes. `own` are names that the model file itself has.

    A background that the names mention, or that the network has (`background`), is left out: classes count from the next.

    Raises:
        LoadFailed: names are given, but not one for each class.
    """
    found, source = given(config, weights) or ((tuple(own), weights) if own else (None, weights))
    if found is None and coco and count == _COCO:
        found = coco()
    named = found is not None and bool(found) and found[0].lower() in _BACKGROUND
    offset = int(background or named)
    if found is None:
        return Names(tuple(f"class_{number}" for number in range(count - offset)), offset)
    names = found[1:] if named else found
    if len(names) != count - offset:
        beside = " and the background" if offset else ""
        raise LoadFailed(source, f"expected {count - offset} class names{beside}, found {len(names)}")
    return Names(names, offset)
