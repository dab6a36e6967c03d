"""Class names: from config.json, from labels.txt beside the weights, ImageNet's where the count tells, or numbers."""

from pathlib import Path
from typing import Final

from moorage_predictor.engine import architectures
from moorage_predictor.engine.config import HubConfig
from moorage_predictor.errors import LoadFailed

FILE_NAME: Final = "labels.txt"


def class_names(num_classes: int, hub: HubConfig, weights: Path) -> tuple[str, ...]:
    """One name for each class.

    Raises:
        LoadFailed: names are given, but not one for each class.
    """
    given, source = hub.label_names, weights.parent / "config.json"
    if given is not None:
        descriptions = hub.label_descriptions or {}
        given = tuple(descriptions.get(name, name) for name in given)
    elif (file := weights.parent / FILE_NAME).is_file():
        try:
            given, source = tuple(file.read_text(encoding="utf-8").splitlines()), file
        except (OSError, UnicodeDecodeError) as error:
            raise LoadFailed(file, f"cannot be read as UTF-8 lines: {error}") from error
    if given is None:
        return architectures.imagenet_names(num_classes) or tuple(f"class_{index}" for index in range(num_classes))
    if len(given) != num_classes:
        raise LoadFailed(source, f"expected {num_classes} class names, found {len(given)}")
    return given
