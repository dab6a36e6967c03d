"""The classifier's own input: one tensor `image` or V1 instances as pictures, and what each mistake is told."""

import base64

import numpy as np
import pytest

from moorage_predictor.errors import InvalidInput, PayloadTooLarge
from moorage_predictor.tasks.image_classification import EncodedImages, PixelImages, PreparedImages
from moorage_predictor.wire import v1
from moorage_predictor.wire.datatypes import BYTES, DATATYPES
from moorage_predictor.wire.images import images_of
from moorage_predictor.wire.messages import Tensor

B64 = base64.b64encode(b"file").decode()
LIMIT = 100


def files(*items, shape=None, name="image"):
    array = np.empty(len(items), object)
    array[:] = items
    shape = shape or [len(items)]
    return Tensor(name, shape, BYTES, array.reshape(shape))


def numbers(datatype, *shape, fill=0):
    array = np.full(shape, fill, DATATYPES[datatype].dtype)
    return Tensor("image", list(shape), DATATYPES[datatype], array)


def test_text_is_base64_and_bytes_are_the_file_itself():
    assert images_of([files(B64, B64)], LIMIT) == EncodedImages((b"file", b"file"))
    assert images_of([files(b"\xff\xd8", b"x")], LIMIT) == EncodedImages((b"\xff\xd8", b"x"))
    assert images_of([files(B64, B64, shape=[2, 1])], LIMIT) == EncodedImages((b"file", b"file"))


def test_pixels_and_prepared_numbers_are_taken_as_they_are():
    pixels = numbers("UINT8", 2, 4, 5, 3)
    assert images_of([pixels], LIMIT) == PixelImages(pixels.as_numpy())
    prepared = numbers("FP32", 2, 3, 4, 5)
    taken = images_of([prepared], LIMIT)
    assert isinstance(taken, PreparedImages)
    assert taken.tensor is prepared.as_numpy()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([files(B64, name="img")], "inputs: expected exactly one, named 'image', found ['img']"),
        ([files(B64), numbers("FP32", 1, 3, 1, 1)], "inputs: expected exactly one, named 'image', found ['image', 'image']"),
        ([files()], "image: expected at least one image, found shape [0]"),
        ([numbers("FP32")], "image: expected at least one image, found shape []"),
        ([files(*[B64] * 65)], "image: expected at most 64 images in one request, found 65"),
        ([files(B64, B64, shape=[1, 2])], "image: expected BYTES shape [n], found [1, 2]"),
        ([numbers("INT64", 1)], "image: expected datatype BYTES, UINT8 or FP32, found INT64"),
        ([numbers("FP32", 1, 1, 1, 3)], "image: expected FP32 shape [n,3,height,width], found [1, 1, 1, 3]"),
        ([numbers("FP32", 1, 3, 4)], "image: expected FP32 shape [n,3,height,width], found [1, 3, 4]"),
        ([numbers("FP32", 1, 3, 0, 4)], "image: expected FP32 shape [n,3,height,width], found [1, 3, 0, 4]"),
        ([numbers("UINT8", 1, 3, 4, 4)], "image: expected UINT8 shape [n,height,width,3], found [1, 3, 4, 4]"),
        ([numbers("UINT8", 1, 0, 4, 3)], "image: expected UINT8 shape [n,height,width,3], found [1, 0, 4, 3]"),
        ([numbers("FP32", 1, 3, 1, 1, fill=np.nan)], "image: FP32 data contains NaN or infinity"),
        ([numbers("FP32", 1, 3, 1, 1, fill=np.inf)], "image: FP32 data contains NaN or infinity"),
        ([files("*")], "image 0: not standard padded base64"),
        ([files(B64, "Zg")], "image 1: not standard padded base64"),
        ([files("-_-_")], "image 0: not standard padded base64"),
        ([files("Zm\n8=")], "image 0: not standard padded base64"),
        ([files("Grüße===")], "image 0: not standard padded base64"),
        ([files("data:image/png;base64,Zm8=")], "image 0: expected base64 alone, found a data: URI"),
    ],
)  # fmt: skip
def test_another_input_is_told_what_was_expected(tensors, message):
    with pytest.raises(InvalidInput) as caught:
        images_of(tensors, LIMIT)
    assert message in str(caught.value)


def test_a_too_long_string_is_refused_before_it_is_decoded():
    with pytest.raises(PayloadTooLarge, match="image 0: expected at most 100 bytes, found about 300"):
        images_of([files("A" * 400)], LIMIT)


def test_v1_instances_are_taken_as_base64_and_as_bytes():
    assert v1.images_of({"instances": [{"b64": B64}]}, LIMIT) == EncodedImages((b"file",))
    assert v1.images_of({"instances": [{"b64": b"\xff"}]}, LIMIT) == EncodedImages((b"\xff",))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, 'instances: expected a list of {"b64": "..."}, with at least one'),
        ({"instances": None}, "instances: expected a list"),
        ({"instances": []}, "instances: expected a list"),
        ({"instances": {"b64": B64}}, "instances: expected a list"),
        ({"inputs": [{"b64": B64}]}, "instances: expected a list"),
        ({"instances": [B64]}, "the image file in base64>\"}, found a string"),
        ({"instances": [{"b64": B64}, 7]}, "instances[1]: expected"),
        ({"instances": [{"b64": 7}]}, "found an object with ['b64']"),
        ({"instances": [{"b64": B64, "more": 1}]}, "found an object with ['b64', 'more']"),
        ({"instances": [{"image": B64}]}, "found an object with ['image']"),
        ({"instances": [{"b64": "*"}]}, "instances[0]: not standard padded base64"),
        ({"instances": [{"b64": B64}] * 65}, "instances: expected at most 64 in one request, found 65"),
    ],
)  # fmt: skip
def test_other_v1_bodies_are_told_what_was_expected(body, message):
    with pytest.raises(InvalidInput) as caught:
        v1.images_of(body, LIMIT)
    assert message in str(caught.value)
