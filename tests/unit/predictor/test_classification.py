"""The classification extension: the best k of an output as `value:index[:label]`."""

import numpy as np
import pytest

from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.classification import classified

LABELS = ("ant", "bee", "cat")


def best(values, k, labels=None, dtype="<f4"):
    return classified("y", np.array(values, dtype), k, labels).tolist()


def test_values_come_best_first_with_index_and_label():
    assert best([0.25, 0.125, 0.625], 2, LABELS) == ["0.625000:2:cat", "0.250000:0:ant"]


def test_without_labels_there_is_the_index_alone():
    assert best([0.25, 0.5], 1) == ["0.500000:1"]
    assert best([1, 2, 3, 4], 2, LABELS) == ["4.000000:3", "3.000000:2:cat"]


def test_each_row_of_a_batch_is_judged_alone():
    assert best([[1, 2], [4, 3]], 1) == [["2.000000:1"], ["4.000000:0"]]
    assert best(np.arange(8).reshape(2, 2, 2), 1) == [["3.000000:3"], ["7.000000:3"]]


def test_equal_values_keep_their_order():
    assert best([1, 1, 1], 3) == ["1.000000:0", "1.000000:1", "1.000000:2"]


def test_more_than_there_are_is_all_there_are():
    assert len(best([1, 2], 10)) == 2
    assert best(np.zeros((2, 0)), 1) == [[], []]


@pytest.mark.parametrize("dtype", ["u1", "<u8", "i1", "<i8"])
def test_integers_are_written_as_such(dtype):
    assert best([3, 7, 5], 3, dtype=dtype) == ["7:1", "5:2", "3:0"]


def test_the_smallest_integers_do_not_wrap_round():
    assert best([-(2**63), 2**63 - 1], 1, dtype="<i8") == [f"{2**63 - 1}:1"]
    assert best([0, 2**64 - 1], 1, dtype="<u8") == [f"{2**64 - 1}:1"]


@pytest.mark.parametrize("k", [0, -1, 1.0, "1", None, True, [1]])
def test_a_count_that_is_none_is_refused(k):
    with pytest.raises(InvalidInput, match="outputs: y: classification: expected an integer from 1 on, found "):
        best([1, 2], k)


@pytest.mark.parametrize(
    "array", [np.array(["a"], object), np.array([True]), np.array(1.0)], ids=["BYTES", "BOOL", "scalar"]
)
def test_only_rows_of_numbers_can_be_ranked(array):
    with pytest.raises(InvalidInput, match="outputs: y: classification: expected an output of numbers"):
        classified("y", array, 1, None)
