"""A V1 answer becomes JSON, or its model is told apart."""

import numpy as np
import orjson
import pytest

from moorage_predictor.errors import ModelFault
from moorage_predictor.wire.json_answers import json_ready, v1_body


@pytest.mark.parametrize(
    "answer",
    [
        {"predictions": [float("nan")]},
        {"predictions": np.array([1, np.inf])},
        {"predictions": (np.float32("nan"),)},
        {"predictions": {1, 2}},
        {"predictions": object()},
    ],
    ids=["nan", "array", "number", "a set", "an object"],
)
def test_what_json_cannot_carry_is_the_models_fault_and_says_nothing_about_us(answer):
    with pytest.raises(ModelFault, match=r"^the model's answer holds (NaN or infinity|something)") as caught:
        v1_body(answer)
    assert "object" not in str(caught.value)


def test_none_and_null_in_text_are_no_nan():
    assert v1_body({"predictions": [None, "null"]}) == b'{"predictions":[null,"null"]}'


def test_an_answer_can_be_a_part_of_other_json():
    part = json_ready({"predictions": np.arange(3), "x": np.float32(0.5)})
    assert orjson.dumps({"data": part}) == b'{"data":{"predictions":[0,1,2],"x":0.5}}'
