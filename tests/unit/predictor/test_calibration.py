"""Images for calibrating and comparing: the user's where there are any, else made from ours."""

import numpy as np
import pytest
from PIL import Image

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import LoadFailed
from moorage_predictor.tasks.image_classification.calibration import FITTING, JUDGING, calibration
from moorage_predictor.tasks.image_classification.preprocess import Preprocess

DATA = DataConfig(input_size=(3, 32, 32), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0)


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        pixels = np.full((40, 60, 3), 60 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


def test_without_a_folder_ours_are_used_and_it_is_said():
    made = calibration(DATA, None)
    assert (made.judging.shape, made.fitting.shape) == ((JUDGING, 3, 32, 32), (FITTING, 3, 32, 32))
    assert made.photos == 3
    assert made.source.startswith("100 images generated from 3 photos that come with Moorage")
    assert np.array_equal(made.judging, calibration(DATA, None).judging)


def test_no_engine_is_judged_by_an_image_that_it_was_fitted_to(folder):
    made = calibration(DATA, folder)
    shades = [{int(image.mean() * 1000) for image in images} for images in (made.judging, made.fitting)]
    assert shades[0].isdisjoint(shades[1])
    assert made.photos == 0
    assert made.source == f"4 images of {folder}: judged by 2 of them and 98 crops of them"


def test_images_are_prepared_as_those_of_requests_are(folder):
    made = calibration(DATA, folder)
    with Image.open(folder / "2.png") as image:
        assert np.array_equal(made.judging[1], Preprocess(DATA)(image))


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(LoadFailed, match=r"calibration: expected images \(\*\.jpg"):
        calibration(DATA, tmp_path)
    with pytest.raises(LoadFailed, match="calibration: expected a folder of images, found none"):
        calibration(DATA, tmp_path / "none")


def test_a_damaged_image_is_named(folder):
    (folder / "9.png").write_bytes((folder / "1.png").read_bytes()[:40])
    with pytest.raises(LoadFailed, match=r"9\.png: calibration: not a readable image"):
        calibration(DATA, folder)
