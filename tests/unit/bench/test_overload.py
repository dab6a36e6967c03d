"""When a server is well again after a crowd."""

from bench.predictor.overload import Asked, recovery_s


def refused(*moments: float) -> list[Asked]:
    return [Asked(at, 503, 0.01) for at in moments]


def test_a_window_as_bad_as_one_before_the_crowd_is_well() -> None:
    assert recovery_s(refused(3.1, 3.2), refused(0.1, 8.1, 8.2), 0.1) == 0.0


def test_the_last_window_that_is_worse_counts() -> None:
    assert recovery_s(refused(3.1), refused(0.1, 0.2, 1.6, 1.7, 8.0), 0.1) == 2.0


def test_who_is_slow_counts_as_who_is_refused() -> None:
    assert recovery_s([], [Asked(0.2, 200, 0.3), Asked(4.0, 200, 0.1)], 0.1) == 0.5
