"""Which of the classifier's outputs an answer has."""

import numpy as np
import pytest

from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import Classification
from moorage_predictor.wire import outputs
from moorage_predictor.wire.messages import InferRequest, RequestedOutput


def asking(*names):
    return InferRequest("cats", [], "7", request_outputs=[RequestedOutput(name) for name in names] or None)


def test_outputs_have_a_default_and_can_be_chosen():
    assert outputs.wanted(asking()) == ["class_id", "confidence", "class_name"]
    assert outputs.wanted(asking("logits", "class_id")) == ["logits", "class_id"]


def test_an_output_that_does_not_exist_is_refused_before_anything_is_computed():
    with pytest.raises(
        InvalidInput, match=r"^outputs: expected some of class_id, confidence, class_name, logits, found 'x'$"
    ):
        outputs.wanted(asking("logits", "x"))


def test_each_output_has_its_datatype_and_shape():
    result = Classification(
        class_id=np.array([[1, 0]]),
        confidence=np.array([[0.75, 0.25]], np.float32),
        class_name=np.array([["b", "a"]], object),
        logits=np.array([[0.0, 1.0]], np.float32),
    )
    made = outputs.response(asking(), ["class_id", "class_name", "logits"], result)
    assert (made.id, made.model_name) == ("7", "cats")
    assert [(output.name, output.datatype, output.shape) for output in made.outputs] == [
        ("class_id", "INT64", [1, 2]),
        ("class_name", "BYTES", [1, 2]),
        ("logits", "FP32", [1, 2]),
    ]
