"""The slope of memory."""

import pytest
from bench.predictor.soak import slope


def test_the_slope_of_a_line_is_its_slope() -> None:
    assert slope([(minute / 12, 700 + 3 * minute / 12) for minute in range(60)]) == pytest.approx(3)


def test_memory_that_goes_up_and_down_has_no_slope() -> None:
    assert slope([(minute, 700 + (minute % 2)) for minute in range(1001)]) == pytest.approx(0, abs=0.001)


def test_one_sample_has_no_slope() -> None:
    assert slope([(1.0, 700.0)]) == 0
