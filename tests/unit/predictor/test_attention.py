"""Weights -> fewer tokens, a map, a picture."""

import io

import numpy as np
import pytest
from PIL import Image

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.engine.inspection import Tokens
from moorage_predictor.tasks.image_classification.attention import heat_map, overlay, without_registers

TOKENS = Tokens(layers=1, heads=2, class_token=True, registers=2, grid=(2, 3))
DATA = DataConfig(
    input_size=(3, 32, 48), mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bicubic", crop_pct=1.0, crop_mode="center"
)


@pytest.fixture
def weights() -> np.ndarray:
    raw = np.random.default_rng(5).random((2, 9, 9), dtype=np.float32)
    return raw / raw.sum(-1, keepdims=True)


def test_without_registers_each_row_still_sums_to_1_in_the_same_proportions(weights):
    found = without_registers(weights, TOKENS)
    assert found.shape == (2, 7, 7)
    assert np.allclose(found.sum(-1), 1)
    assert np.allclose(found[0, 1, 2] / found[0, 1, 0], weights[0, 3, 4] / weights[0, 3, 0])


def test_a_network_without_registers_keeps_all_tokens(weights):
    assert np.allclose(without_registers(weights, Tokens(1, 2, True, 0, (2, 4))), weights)


def test_the_map_is_the_class_tokens_row_over_the_picture(weights):
    found = heat_map(weights, TOKENS, (32, 48))
    assert found.shape == (2, 32, 48)
    patches = weights[:, 0, 3:].reshape(2, 2, 3)
    assert np.allclose(found[:, 0, 0], patches[:, 0, 0])
    assert np.allclose(found[:, -1, -1], patches[:, 1, 2])
    assert found.max() <= patches.max() + 1e-6


def test_without_a_class_token_it_is_how_the_patches_look_on_average(weights):
    tokens = Tokens(layers=1, heads=2, class_token=False, registers=3, grid=(2, 3))
    found = heat_map(weights, tokens, (2, 3))
    assert np.allclose(found, weights[:, 3:, 3:].mean(1).reshape(2, 2, 3), atol=1e-6)


def test_the_overlay_is_a_png_of_the_prepared_photo_bright_where_the_map_is_high():
    row = np.zeros((3, 32, 48), np.float32)  # mid grey
    heat = np.zeros((32, 48), np.float32)
    heat[8:16, 8:16] = 1
    with Image.open(io.BytesIO(overlay(heat, row, DATA))) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        assert min(picture.size) >= 448
        factor = picture.width // 48
        bright, dark = picture.getpixel((12 * factor, 12 * factor)), picture.getpixel((40 * factor, 28 * factor))
    assert sum(bright) > sum(dark) + 100
    assert bright[0] > bright[2]  # yellow


def test_a_map_that_is_the_same_everywhere_is_drawn_as_such():
    drawn = overlay(np.full((32, 48), 0.1, np.float32), np.zeros((3, 32, 48), np.float32), DATA)
    with Image.open(io.BytesIO(drawn)) as picture:
        assert len(set(map(tuple, np.asarray(picture).reshape(-1, 3)))) == 1
