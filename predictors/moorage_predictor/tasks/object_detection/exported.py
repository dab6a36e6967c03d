"""An exported model with raw YOLO output -> `yolo.Yolo`. Called by `load.py`.

    runners.py opens the file -> one blank picture through it -> which layout, how many classes, how many rows at a time

What stands in the file itself (Ultralytics writes names and the input's size there) is used where config.json is silent.
"""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moorage_predictor.engine import cores
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.object_detection import names, raw_yolo
from moorage_predictor.tasks.object_detection.config import DetectionConfig
from moorage_predictor.tasks.object_detection.runners import OPENERS, Kind
from moorage_predictor.tasks.object_detection.told import Told
from moorage_predictor.tasks.object_detection.yolo import Runner, Yolo

_SIDE: Final = 640
"""Of an input whose size nobody says."""


def load(file: Path, kind: Kind, config: DetectionConfig) -> Yolo:
    """The detector in `file`.

    Raises:
        LoadFailed: it is damaged, reaches beyond itself, or its output is no detector's.
    """
    runner, told = OPENERS[kind](file)
    return made(runner, told, file, config)


def made(runner: Runner, told: Told, file: Path, config: DetectionConfig) -> Yolo:
    """The detector that `runner` is, which was made of `file`.

    Raises:
        LoadFailed: its output is no detector's, or the names beside the file do not fit it.
    """
    size = told.size or config.input_size or (_SIDE, _SIDE)
    if config.input_size and size != config.input_size:
        raise LoadFailed(
            file, f"input_size: expected {list(size)}, which the file says, found {list(config.input_size)}"
        )
    threads = cores.available()
    raw = _raw(runner, file, size, told.rows or 1, threads)
    shape = raw.shape[0], raw.shape[1]
    given = names.given(config, file)
    stated = len(given[0]) if given else len(told.names) if told.names else None
    try:
        layout = config.output or raw_yolo.layout_of(shape, stated)
    except ValueError as error:
        raise LoadFailed(file, str(error)) from error
    count = raw_yolo.classes_of(shape, layout)
    if count is None and stated is None:
        raise LoadFailed(file, "the names of the classes are unknown: put labels.txt beside the file")
    if count is not None and count < 1:
        raise LoadFailed(file, f"output: expected {layout} of at least one class, found {list(shape)} for each picture")
    try:
        raw_yolo.check(raw, layout)
    except ValueError as error:
        raise LoadFailed(file, f"output: {error}") from error
    found = names.resolved(config, file, count or stated or 0, own=told.names)
    rows = told.rows or _rows(runner, size, shape, threads)
    return Yolo(runner, layout, size, found.names, rows)


def _raw(runner: Runner, file: Path, size: tuple[int, int], rows: int, threads: int) -> NDArray[np.float32]:
    """The output of one picture."""
    try:
        found = runner(np.zeros((rows, 3, *size), dtype=np.float32), threads)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise LoadFailed(file, f"a forward pass with input {[rows, 3, *size]} fails: {reason}") from error
    if found.ndim != 3 or len(found) != rows:
        raise LoadFailed(file, f"output: expected [{rows}, ..., ...], found {list(found.shape)}")
    first: NDArray[np.float32] = found[0]
    return first


def _rows(runner: Runner, size: tuple[int, int], shape: tuple[int, int], threads: int) -> int | None:
    """1 if the network was exported for one picture at a time; None if it takes as many as come."""
    try:
        found = runner(np.zeros((2, 3, *size), dtype=np.float32), threads)
    except RuntimeError:
        return 1
    return None if found.shape == (2, *shape) else 1
