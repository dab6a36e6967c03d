"""The 1,797 handwritten digits of scikit-learn's wheel (the test part of the UCI data set "Optical Recognition of Handwritten
Digits"), four fifths to learn from and one fifth held out. Used by `image.py`, `custom.py` and tests."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED: Final = 20261122
HELD_OUT: Final = 0.2
_WHITE: Final = 16
"""The brightest value in the data set."""
DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey pictures [n, 8, 8], white on black, and the class of each, [n]."""
    data = load_digits()
    return (data.images * (255 / _WHITE)).round().astype(np.uint8), data.target.astype(np.int64)


def split(classes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the digits are trained on, and which fifth is held out, with as many of each class."""
    training, held_out = train_test_split(
        np.arange(len(classes)), test_size=HELD_OUT, stratify=classes, random_state=SEED
    )
    return training, held_out


def samples() -> dict[str, NDArray[np.uint8]]:
    """One picture of each digit that was held out, by its word."""
    pictures, classes = digits()
    _, held_out = split(classes)
    return {name: pictures[next(at for at in held_out if classes[at] == number)] for number, name in enumerate(DIGITS)}


def save_pictures(folder: Path, pictures: dict[str, NDArray[np.uint8]]) -> None:
    """Each as NAME.png in the new folder."""
    folder.mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
