"""Images on disk -> prepared arrays, for calibrating int8 and for comparing engines. Called by `optimize.py`.

| given           | whole photos   | the rest, up to JUDGING and FITTING                         |
|-----------------|----------------|-------------------------------------------------------------|
| a folder        | its images     | crops of them, if they are fewer                            |
| nothing         | three, shipped | crops of them, which stand for no user's pictures           |

Every second whole photo of a folder is judged by and the others fitted to, so no engine is judged by what it was fitted to.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from moorage_predictor.engine.backend import Float32s
from moorage_predictor.engine.calibration import Calibration
from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.image_classification import images
from moorage_predictor.tasks.image_classification.preprocess import Preprocess

SHIPPED: Final = Path(__file__).parent / "photos"
JUDGING: Final = 100
FITTING: Final = 64
_MOST: Final = 512
"""Images of a folder; more would cost more time than they tell."""
_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_SEED: Final = 20261122
_SMALLEST: Final = 0.5
"""Of a crop's sides, in its photo's."""


def calibration(data: DataConfig, folder: Path | None) -> Calibration:
    """Prepared as the network's requests are.

    Raises:
        LoadFailed: the folder holds no images, or one that cannot be read.
    """
    photos = [_read(file) for file in _files(folder or SHIPPED)]
    prepare = Preprocess(data)
    judged, fitted = (photos, photos) if folder is None else (photos[::2], photos[1::2] or photos)
    judged, fitted = judged[:_MOST], fitted[:_MOST]
    generator = np.random.default_rng(_SEED)
    judging = [*judged, *_crops(judged, JUDGING - len(judged), generator)]
    fitting = [*(fitted if folder else ()), *_crops(fitted, FITTING - (len(fitted) if folder else 0), generator)]
    return Calibration(
        fitting=_prepared(prepare, fitting),
        judging=_prepared(prepare, judging),
        photos=0 if folder else len(judged),
        source=_source(folder, len(photos), len(judged), len(judging)),
    )


def _source(folder: Path | None, photos: int, whole: int, judging: int) -> str:
    if folder is None:
        return f"{judging} images generated from {photos} photos that come with Moorage; --calibration-dir takes better ones"
    crops = f" and {judging - whole} crops of them" if judging > whole else ""
    return f"{photos} images of {folder}: judged by {whole} of them{crops}"


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise LoadFailed(folder, "calibration: expected a folder of images, found none")
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not found:
        raise LoadFailed(folder, f"calibration: expected images (*{', *'.join(_SUFFIXES)}), found none")
    return found[: 2 * _MOST]


def _read(file: Path) -> Image.Image:
    try:
        with Image.open(file, formats=images.FORMATS) as image:
            return images.upright(image, name=str(file))
    except Exception as error:  # Pillow raises anything on a damaged file
        raise LoadFailed(file, f"calibration: not a readable image in one of {', '.join(images.FORMATS)}") from error


def _crops(photos: Sequence[Image.Image], count: int, generator: np.random.Generator) -> list[Image.Image]:
    """Random parts of the photos in turn, half of them mirrored."""
    made = []
    for number in range(max(0, count)):
        photo = photos[number % len(photos)]
        width, height = (max(1, int(side * generator.uniform(_SMALLEST, 1))) for side in photo.size)
        left, top = int(generator.integers(photo.width - width + 1)), int(generator.integers(photo.height - height + 1))
        crop = photo.crop((left, top, left + width, top + height))
        made.append(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if generator.random() < 0.5 else crop)
    return made


def _prepared(prepare: Preprocess, pictures: Sequence[Image.Image]) -> Float32s:
    return np.stack([prepare(picture) for picture in pictures])
