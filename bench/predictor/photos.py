"""The JPEGs of the workload, 32 that are measured and others to calibrate with. Called by `assets.py`.

They are views of photos that scikit-image and scikit-learn ship.
Both packages are installed from bench/photos/requirements.lock for their files alone. A view is a part of a photo at the
size of a photo on the web, longer side 500 pixels, and is encoded as a camera would: baseline, 4:2:0, quality 90.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.harness import environments, paths
from bench.harness.errors import NotThere
from PIL import Image

LOCK = paths.BENCH / "photos" / "requirements.lock"
LONGER_SIDE = 500
QUALITY = 90
SEED = 11
CALIBRATING_OF_EACH = 4
CALIBRATING_SHARE = (0.94, 0.99)
WHOLE = (0.0, 0.0, 1.0, 1.0)
SKIMAGE, SKLEARN = "skimage/data", "sklearn/datasets/images"


@dataclass(frozen=True)
class View:
    """A part of a photo: left, top, right, bottom as shares of its sides."""

    photo: str
    part: tuple[float, float, float, float] = WHOLE


VIEWS = (
    *(View(f"{SKIMAGE}/{name}") for name in ("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png")),
    *(View(f"{SKIMAGE}/{name}") for name in ("clock_motion.png", "coffee.png", "coins.png", "color.png", "grass.png")),
    *(View(f"{SKIMAGE}/{name}") for name in ("gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png")),
    *(View(f"{SKIMAGE}/{name}") for name in ("motorcycle_left.png", "retina.jpg", "rocket.jpg")),
    View(f"{SKLEARN}/china.jpg"),
    View(f"{SKLEARN}/flower.jpg"),
    View(f"{SKIMAGE}/astronaut.png", (0.0, 0.0, 1.0, 0.6)),
    View(f"{SKIMAGE}/chelsea.png", (0.2, 0.05, 0.8, 0.75)),
    View(f"{SKIMAGE}/coffee.png", (0.0, 0.2, 0.6, 1.0)),
    View(f"{SKIMAGE}/hubble_deep_field.jpg", (0.0, 0.0, 0.5, 0.5)),
    View(f"{SKIMAGE}/hubble_deep_field.jpg", (0.5, 0.5, 1.0, 1.0)),
    View(f"{SKIMAGE}/motorcycle_right.png", (0.0, 0.0, 0.55, 1.0)),
    View(f"{SKIMAGE}/motorcycle_right.png", (0.45, 0.2, 1.0, 1.0)),
    View(f"{SKIMAGE}/retina.jpg", (0.1, 0.3, 0.5, 0.6)),
    View(f"{SKIMAGE}/retina.jpg", (0.5, 0.3, 0.9, 0.6)),
    View(f"{SKIMAGE}/rocket.jpg", (0.3, 0.0, 0.7, 1.0)),
    View(f"{SKLEARN}/china.jpg", (0.0, 0.0, 0.5, 1.0)),
    View(f"{SKLEARN}/china.jpg", (0.45, 0.25, 1.0, 0.85)),
    View(f"{SKLEARN}/flower.jpg", (0.3, 0.1, 0.85, 0.95)),
)


def measured() -> list[bytes]:
    """The files of all views."""
    return [jpeg(image) for image in _images()]


def calibrating() -> list[bytes]:
    """Other files that show the same: each view with a narrow strip cut off somewhere."""
    random = Random(SEED)
    files = []
    for image in _images():
        for _ in range(CALIBRATING_OF_EACH):
            width, height = (round(random.uniform(*CALIBRATING_SHARE) * side) for side in image.size)
            left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
            files.append(jpeg(image.crop((left, top, left + width, top + height))))
    return files


def _images() -> list[Image.Image]:
    found = sorted(environments.locked(LOCK).parents[1].glob("lib/python*/site-packages"))
    if not found:
        raise NotThere(f"{LOCK.relative_to(paths.ROOT)} is installed without a site-packages; remove {paths.cache()}")
    return [_cut(found[0] / view.photo, view) for view in VIEWS]


def _cut(photo: Path, view: View) -> Image.Image:
    with Image.open(photo) as image:
        left, top, right, bottom = view.part
        box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
        return image.convert("RGB").crop(tuple(map(round, box)))


def jpeg(image: Image.Image) -> bytes:
    """A baseline JPEG with a longer side of LONGER_SIDE pixels."""
    ratio = LONGER_SIDE / max(image.size)
    size = (round(image.width * ratio), round(image.height * ratio))
    stream = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return stream.getvalue()
