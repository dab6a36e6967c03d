"""The hooks, called as the server calls them. Run it with: python -m pytest test_nearest.py"""

from pathlib import Path

import pytest

from moorage_predictor.scaffolds.nearest import Nearest

HERE = Path(__file__).parent
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture
def model() -> Nearest:
    made = Nearest()
    made.setup(str(HERE / "digits"))
    return made


def test_a_batch_of_pictures_is_read(model: Nearest) -> None:
    rows = [model.decode((HERE / "digits-samples" / f"{word}.png").read_bytes()) for word in WORDS]
    results = model.predict(model.batch(rows))
    answers = [model.encode({name: values[at] for name, values in results.items()}) for at in range(len(rows))]
    assert [answer["digit"] for answer in answers] == list(range(10))


def test_a_caller_is_told_what_was_expected(model: Nearest) -> None:
    with pytest.raises(ValueError, match="expected a PNG or JPEG file"):
        model.decode(b"no picture")
