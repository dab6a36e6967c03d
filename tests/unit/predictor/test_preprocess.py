"""Our transform against timm's own, which runs on torchvision."""

import numpy as np
import pytest
import timm
from PIL import Image
from timm.data import create_transform

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import ImageInvalid
from moorage_predictor.tasks.image_classification.preprocess import Preprocess

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.parametrize("photo", ["chelsea.png", "coffee.png", "rocket.jpg"])
@pytest.mark.parametrize(
    "config",
    [
        {"crop_pct": 0.875, "interpolation": "bicubic", "mean": (127 / 255,) * 3, "std": (128 / 255,) * 3},
        {"crop_pct": 1.0, "interpolation": "bicubic"},
        {"crop_pct": 0.95, "interpolation": "bilinear", "input_size": (3, 160, 160)},
        {"crop_pct": 0.9, "interpolation": "lanczos", "crop_mode": "squash"},
        {"crop_pct": 0.9, "interpolation": "nearest", "crop_mode": "border"},
        {"crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "border", "input_size": (3, 128, 192)},
        {"crop_pct": 0.875, "interpolation": "bilinear", "input_size": (3, 192, 128)},
        {"crop_pct": 1.15, "interpolation": "bicubic"},
    ],
    ids=lambda config: f"{config.get('crop_mode', 'center')}-{config['interpolation']}-{config['crop_pct']}",
)
def test_it_equals_timms_evaluation_transform(photos, photo, config):
    full = {"input_size": (3, 224, 224), "crop_mode": "center", **IMAGENET, **config}
    theirs = create_transform(**full, is_training=False)
    with Image.open(photos / photo) as opened:
        image = opened.convert("RGB")
    ours = Preprocess(DataConfig(**full))(image)
    assert np.abs(ours - theirs(image).numpy()).max() <= 1e-6


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (223, 225), (160, 40)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_odd_sizes_equal_timms_too(size, crop_mode):
    full = {"input_size": (3, 64, 64), "crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": crop_mode, **IMAGENET}
    image = Image.effect_noise(size, 90).convert("RGB")
    try:
        theirs = create_transform(**full, is_training=False)(image).numpy()
    except ValueError:  # a side rounds to nothing there; ours keeps one pixel
        theirs = None
    ours = Preprocess(DataConfig(**full))(image)
    assert ours.shape == (3, 64, 64)
    assert theirs is None or np.abs(ours - theirs).max() <= 1e-6


def test_the_bounds_of_a_config_leave_room_for_all_of_timms():
    configs = [timm.get_pretrained_cfg(name) for name in timm.list_pretrained()]
    assert len(configs) > 1000
    for config in configs:
        stated = {name: getattr(config, name) for name in ("mean", "std", "crop_pct")}
        DataConfig(**{**stated, "input_size": (3, 224, 224), "interpolation": "bicubic"})


def test_a_picture_that_would_grow_out_of_bounds_is_refused():
    config = DataConfig(
        input_size=(3, 224, 224), mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic", crop_pct=0.875
    )
    with pytest.raises(ImageInvalid, match="1x4096 pixels are too narrow"):
        Preprocess(config)(Image.new("RGB", (1, 4096)))
    assert Preprocess(config)(Image.new("RGB", (64, 4096))).shape == (3, 224, 224)
