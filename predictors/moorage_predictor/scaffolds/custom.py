"""`moor init custom`: a class with the five hooks, `nearest.py`, the digits that it compares with, and a test of its hooks.

    digits.py -> four fifths -> digits/model.safetensors        nearest.py, nearest_test.py -> as they are, beside it

The class is code of the user's from then on, so it is copied, and nothing in it is of this package.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from moorage_predictor.scaffolds import Model, Report, nearest
from moorage_predictor.scaffolds.digits import digits, samples, save_pictures, split

_COPIED = {"nearest.py": "nearest.py", "nearest_test.py": "test_nearest.py"}


def write(folder: Path, report: Report) -> tuple[Model, ...]:
    """Leave the class, its files, a test, and pictures that it does not know."""
    report("digits", 0, 2)
    pictures, classes = digits()
    rows = pictures.reshape(len(pictures), -1)
    known, held_out = split(classes)
    (folder / "digits").mkdir()
    save_file(
        {"pictures": rows[known], "digits": classes[known].astype(np.uint8)}, folder / "digits" / "model.safetensors"
    )
    save_pictures(folder / "digits-samples", samples())
    for source, target in _COPIED.items():
        text = (files(nearest.__package__) / source).read_text().replace(f"{nearest.__package__}.", "")
        (folder / target).write_text(text)
    report("measuring", 1, 2)
    model = nearest.Nearest()
    model.setup(str(folder / "digits"))
    right = model.predict(rows[held_out].astype(np.float32))["digit"] == classes[held_out]
    return (
        Model(
            name="digits",
            task="custom",
            weights="model.safetensors",
            measured=f"accuracy {right.mean():.3f} on {len(held_out)} digits that it does not know",
            model={"class": "nearest:Nearest"},
            photo="digits-samples/seven.png",
            inside=True,
            then=("pip install pytest", "python -m pytest test_nearest.py"),
        ),
    )
