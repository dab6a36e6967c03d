"""What a caller may ask of a detection, and what is refused."""

import pytest

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.object_detection import Options

NAMES = ("cat", "dog", "traffic light", "7")


def test_what_is_not_asked_stays_as_it_was():
    mine = Options(confidence=0.4, iou=0.6, max_detections=7)
    assert mine.changed({}, NAMES) is mine
    assert mine.changed({"iou": 0.1, "something": "else"}, NAMES) == Options(0.4, 0.1, 7)


@pytest.mark.parametrize("key", ["confidence", "iou"])
@pytest.mark.parametrize("given", [0, 1, 0.5, "0.5"])
def test_thresholds_are_numbers_from_0_to_1(key, given):
    assert getattr(Options().changed({key: given}, NAMES), key) == float(given)


@pytest.mark.parametrize("key", ["confidence", "iou"])
@pytest.mark.parametrize(
    "given",
    [-0.01, 1.01, float("nan"), float("inf"), True, None, "much", [], "9" * 400, "1_0e-2", 10**5000],
    ids=lambda given: repr(given)[:20] if given != 10**5000 else "10**5000",
)
def test_a_threshold_outside_0_to_1_is_refused(key, given):
    with pytest.raises(InvalidInput, match=f"^{key}: expected a number from 0 to 1, found "):
        Options().changed({key: given}, NAMES)


@pytest.mark.parametrize(
    "given", [0, 1001, 2.5, "x", "1_0", True, None, 10**5000], ids=lambda given: "huge" if given == 10**5000 else None
)
def test_a_number_of_detections_that_is_none_is_refused(given):
    with pytest.raises(InvalidInput, match=r"^max_detections: expected an integer from 1 to 1000, found "):
        Options().changed({"max_detections": given}, NAMES)


@pytest.mark.parametrize(
    ("given", "classes"),
    [
        (["cat", 1], {0, 1}),
        ("dog, traffic light", {1, 2}),
        ("0,2", {0, 2}),
        ('["traffic light", 0]', {0, 2}),
        ("7", {3}),
        ([3], {3}),
        (["3"], {3}),
    ],
    ids=str,
)
def test_classes_are_told_by_name_or_number(given, classes):
    assert Options().changed({"classes": given}, NAMES).classes == classes


@pytest.mark.parametrize(
    "given", [[], "", 1, None, {}, ["cat"] * 5, [4], [-1], [True], "bird", '["cat"', [["cat"]], "1.0"]
)
def test_classes_that_the_model_has_not_are_refused(given):
    with pytest.raises(InvalidInput, match=r"^classes: expected "):
        Options().changed({"classes": given}, NAMES)


@pytest.mark.parametrize("depth", [10, 1000, 50_000, 100_000, 1_000_000])
@pytest.mark.parametrize("inside", ["", "1" * 5000])
def test_classes_that_are_lists_in_lists_or_huge_are_refused_and_nothing_else_happens(depth, inside):
    for given in ("[" * depth + inside, "[" * depth + inside + "]" * depth):
        with pytest.raises(InvalidInput, match=r"^classes: expected .{,200}$"):
            Options().changed({"classes": given}, NAMES)


@pytest.mark.parametrize("given", [[10**5000], 10**5000, [[10**5000]]], ids=["item", "itself", "nested"])
def test_a_class_with_too_many_digits_is_refused(given):
    with pytest.raises(InvalidInput, match=r"^classes: expected .*found what is too long to be shown$"):
        Options().changed({"classes": given}, NAMES)


def test_a_class_that_is_nearly_there_is_offered():
    with pytest.raises(InvalidInput, match=r"found 'trafic light'; did you mean traffic light\?$"):
        Options().changed({"classes": ["trafic light"]}, NAMES)
