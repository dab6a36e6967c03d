"""What an array is made of and becomes, and how messages say what was found."""

import numpy as np
import pytest

from moorage_predictor.wire.tensor import bytes_of_elements, elements, kind, short


def test_elements_go_out_as_they_came_in():
    items = [b"", b"a" * 300, "Grüße".encode()]
    assert list(elements("x", bytes_of_elements(np.array(items, object)), len(items))) == items
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
