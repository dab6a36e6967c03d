"""Draws docs/reference/attention.png: the first six pictures that `moor init image`'s transformer is measured on, and below each
where its attention goes. Run by hand, after `moor init image FOLDER`: `.venv/bin/python tools/attention_picture.py FOLDER`.
"""

import io
import sys
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from moorage.api.predictor import PredictorSettings
from moorage_predictor import loading
from moorage_predictor.scaffolds import figures, image
from moorage_predictor.tasks.image_classification import Asked, Attention, PixelImages

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "attention.png"
SIDE = 160
GAP = 6


def main(folder: str) -> None:
    """Write the picture."""
    settings = PredictorSettings(task="image-classification", model_dir=str(Path(folder) / "figures"))
    classifier = loading.load(settings, lambda step: None, threading.Event())
    shown = figures.pictures(6, image.SEED + 1)
    asked = Asked(attention=Attention(overlay=True, numbers=False))
    rows = [prepare() for prepare in classifier.rows(PixelImages(np.stack([each.pixels for each in shown])))]
    found = [classifier.inspected([row], classifier.pass_of(asked))[0] for row in rows]
    overlays = [classifier.finished(one, asked, [row]).overlay for one, row in zip(found, rows, strict=True)]
    sheet = Image.new("RGB", (len(shown) * (SIDE + GAP) - GAP, 2 * SIDE + GAP), "white")
    for column, (each, overlay) in enumerate(zip(shown, overlays, strict=True)):
        assert overlay is not None
        pair = Image.fromarray(each.pixels), Image.open(io.BytesIO(overlay[0]))
        for line, picture in enumerate(pair):
            scaled = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(scaled, (column * (SIDE + GAP), line * (SIDE + GAP)))
    sheet.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(TARGET, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
