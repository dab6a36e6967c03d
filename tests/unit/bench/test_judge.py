"""Which answers of a server are right."""

import numpy as np
import pytest
from bench.predictor.judge import Judge

REFERENCE = np.array([[0.4, 0.2, 0.1, 0.0999, 0.08, 0.0799, 0.0402], [0.01, 0.02, 0.03, 0.04, 0.1, 0.3, 0.5]])
RIGHT = [(0, 0.4), (1, 0.2), (2, 0.1), (3, 0.0999), (4, 0.08)]


@pytest.fixture
def judge() -> Judge:
    return Judge(REFERENCE, tolerance=0.001)


def test_the_references_own_best_classes_are_right(judge: Judge) -> None:
    assert judge.problem(0, RIGHT) is None


def test_classes_that_are_as_probable_may_change_places(judge: Judge) -> None:
    assert judge.problem(0, [(0, 0.4), (1, 0.2), (3, 0.1), (2, 0.0999), (5, 0.0801)]) is None


def test_the_answer_to_another_photo_is_wrong(judge: Judge) -> None:
    assert "expected class 6 first" in str(judge.problem(1, RIGHT))


def test_another_probability_is_wrong(judge: Judge) -> None:
    assert "class 1: expected probability 0.2" in str(judge.problem(0, [RIGHT[0], (1, 0.19), *RIGHT[2:]]))


def test_nan_is_no_probability(judge: Judge) -> None:
    assert "expected probability" in str(judge.problem(0, [(0, float("nan")), *RIGHT[1:]]))


def test_a_class_that_is_not_among_the_best_is_wrong(judge: Judge) -> None:
    assert judge.problem(0, [*RIGHT[:4], (6, 0.0402)]) == "class 6 is not among the best 5"


@pytest.mark.parametrize(
    "classes", [RIGHT[:4], [*RIGHT[:4], RIGHT[3]], [*RIGHT[:4], (7, 0.08)], [RIGHT[0], *RIGHT[:0:-1]]]
)
def test_too_few_double_unknown_and_unsorted_classes_are_wrong(judge: Judge, classes: list[tuple[int, float]]) -> None:
    assert judge.problem(0, classes)
