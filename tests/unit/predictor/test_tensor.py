"""The input that a model gets: the SDK's own type, whose data is there already and was checked."""

import numpy as np
import pytest
from kserve import InferInput

from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.datatypes import BYTES, DATATYPES
from moorage_predictor.wire.tensor import Tensor, bytes_of_elements, elements, kind, short


def of(array, datatype="FP32", **more):
    return Tensor("x", list(array.shape), DATATYPES[datatype], array, **more)


def words(*items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return Tensor("x", [len(items)], BYTES, array)


def test_it_is_the_sdks_own_input():
    tensor = of(np.zeros((2, 3), "<f4"), parameters={"a": 1})
    assert isinstance(tensor, InferInput)
    assert (tensor.name, tensor.shape, tensor.datatype, tensor.parameters) == ("x", [2, 3], "FP32", {"a": 1})


def test_as_numpy_is_the_array_itself():
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    assert of(array).as_numpy() is array


def test_data_is_a_list_for_the_models_that_want_one():
    assert of(np.array([[1, 2], [3, 4]], "<f4")).data == [1, 2, 3, 4]
    assert words(b"abc", "text", b"\xff").data == ["abc", "text", b"\xff"]
    assert of(np.zeros(1, "<f4"), data=[[0.0]]).data == [[0.0]]


def test_what_a_model_puts_in_its_place_is_what_counts():
    tensor = of(np.zeros((2, 2), "<f4"))
    tensor.data = [1, 2, 3, 4]
    assert tensor.as_numpy().tolist() == [[1, 2], [3, 4]]
    tensor.data = np.ones(3)
    assert tensor.as_numpy().tolist() == [1, 1, 1]
    for binary in (False, True):
        tensor.set_data_from_numpy(np.full((2, 2), 7, "<f4"), binary_data=binary)
        assert tensor.as_numpy().tolist() == [[7, 7], [7, 7]]
        assert tensor.data == (None if binary else [7, 7, 7, 7])  # as the SDK has it


def test_text_comes_in_rows():
    assert words("a", b"b").as_string() == [["a"], ["b"]]
    two = Tensor("x", [1, 2], BYTES, words("a", "b").as_numpy().reshape(1, 2))
    assert two.as_string() == [["a", "b"]]
    assert words().as_string() == []


def test_what_is_no_text_is_refused():
    with pytest.raises(InvalidInput, match="x: expected datatype BYTES, found FP32"):
        of(np.zeros(1, "<f4")).as_string()
    with pytest.raises(InvalidInput, match="x: expected UTF-8 text"):
        words(b"\xff").as_string()


def test_elements_go_out_as_they_came_in():
    items = [b"", b"a" * 300, "Grüße".encode()]
    assert list(elements("x", bytes_of_elements(words(*items).as_numpy()), len(items))) == items
    assert bytes_of_elements(np.array([1.5, 2])) == b"\x03\0\0\x001.5\x03\0\0\x002.0"


@pytest.mark.parametrize(
    ("value", "word"),
    [([], "an empty list"), ([1], "a list"), ({}, "an object"), ("", "a string"), (True, "a boolean"), (1, "a number"),
     (1.5, "a number"), (None, "nothing")],
)  # fmt: skip
def test_messages_say_what_was_found_in_words_of_json(value, word):
    assert kind(value) == word


@pytest.mark.parametrize("value", ["x" * 10**6, [1] * 10**6, {"a": "x" * 1000}, b"\0" * 10**6, 10**4000])
def test_messages_never_quote_much(value):
    assert len(short(value)) <= 80
