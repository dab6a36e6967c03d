"""Ranking and shapes, over a network that is a function."""

import numpy as np
import pytest
from PIL import Image

from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import (
    EncodedImages,
    ImageClassifier,
    Limits,
    PixelImages,
    PreparedImages,
)

NAMES = ("ant", "bee", "cat", "dog")


class FixedNetwork:
    num_classes = 4
    data = DataConfig(input_size=(3, 8, 8), mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear", crop_pct=1.0)

    def __init__(self, logits=(0.0, 1.0, 3.0, 1.0)):
        self.logits = np.array(logits, dtype=np.float32)
        self.seen = None

    def forward(self, batch, threads=None):
        self.seen = batch
        return np.repeat(self.logits[None], len(batch), axis=0)


def classifier(network, top_k=3):
    return ImageClassifier(network, NAMES, top_k=top_k, limits=Limits(1000, 100))


def test_classes_come_best_first_and_ties_keep_their_order():
    result = classifier(FixedNetwork())(PreparedImages(np.zeros((2, 3, 8, 8), np.float32)))
    assert result.class_id.tolist() == [[2, 1, 3]] * 2
    assert result.class_name.tolist() == [["cat", "bee", "dog"]] * 2
    assert result.confidence[0] == pytest.approx(np.exp([3, 1, 1]) / np.exp([0, 1, 3, 1]).sum(), rel=1e-6)
    assert (result.class_id.dtype, result.confidence.dtype) == (np.int64, np.float32)
    assert result.logits.shape == (2, 4)


def test_top_k_never_exceeds_the_number_of_classes():
    result = classifier(FixedNetwork(), top_k=1000)(PreparedImages(np.zeros((1, 3, 8, 8), np.float32)))
    assert result.confidence.shape == (1, 4)
    assert result.confidence.sum() == pytest.approx(1)


def test_large_logits_do_not_overflow():
    result = classifier(FixedNetwork((1e30, 0, 0, -1e30)))(PreparedImages(np.zeros((1, 3, 8, 8), np.float32)))
    assert result.confidence[0, 0] == 1.0


def test_files_and_their_pixels_give_the_network_the_same_batch(encode):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 12, 3), dtype=np.uint8)
    network = FixedNetwork()
    run = classifier(network)
    run(PixelImages(pixels))
    from_pixels = network.seen
    run(EncodedImages(tuple(encode(Image.fromarray(array)) for array in pixels)))
    assert np.array_equal(network.seen, from_pixels)


@pytest.mark.parametrize("shape", [(1, 3, 8, 9), (1, 3, 224, 224)])
def test_a_prepared_tensor_of_another_size_is_refused(shape):
    with pytest.raises(InvalidInput, match=r"expected FP32 shape \[n, 3, 8, 8\], found \[1, 3"):
        classifier(FixedNetwork())(PreparedImages(np.zeros(shape, np.float32)))


def test_pixels_beyond_the_side_limit_are_refused():
    with pytest.raises(InvalidInput, match="expected at most 100x100 pixels, found 1x101"):
        classifier(FixedNetwork())(PixelImages(np.zeros((1, 101, 1, 3), np.uint8)))


def test_the_message_says_which_image_of_the_request_is_bad(encode):
    good = encode(Image.new("RGB", (4, 4)))
    with pytest.raises(InvalidInput, match=r"^image 1: "):
        classifier(FixedNetwork())(EncodedImages((good, b"no")))
