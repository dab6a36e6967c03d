"""What a spec says of its task reaches the predictor, in a cluster and on a laptop alike."""

import json
from typing import Any

import pytest
from tests.builders import model_deployment

from moorage.api import PredictorSettings
from moorage.api.v1alpha1 import tasks
from moorage.render import local_settings, predictor_settings

IMAGES = {
    "topK": 3,
    "confidenceThreshold": 0.2,
    "features": True,
    "maxImageBytes": 1000,
    "maxImageSide": 100,
}
BOXES = {"confidence": 0, "iou": 1, "maxDetections": 7, "maxImageBytes": 1000, "maxImageSide": 100}
TABLE = {
    "columns": [
        {"name": "tenure", "type": "integer", "min": 0, "max": 100},
        {"name": "a, b=$(c)|{d}", "type": "string", "enum": ["x, y", 3], "default": 3, "unseen": "default"},
    ],
    "classNames": ["stays", "leaves"],
    "modelOutput": "logits",
    "topFeatures": 2,
    "explainSeed": 9,
    "maxRows": 10,
    "maxExplainedRows": 4,
    "mediumConfidence": 0.5,
    "highConfidence": 0.6,
}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "image-classification": (
        "imageClassification",
        IMAGES,
        {"top_k": 3, "confidence_threshold": 0.2, "features": "on", "max_image_bytes": 1000, "max_image_side": 100},
    ),
    "object-detection": (
        "objectDetection",
        BOXES,
        {"confidence": 0, "iou": 1, "max_detections": 7, "max_image_bytes": 1000, "max_image_side": 100},
    ),
    "tabular": (
        "tabular",
        TABLE,
        {
            "class_name": ("stays", "leaves"),
            "model_output": "logits",
            "top_k": 2,
            "explain_seed": 9,
            "max_rows": 10,
            "max_explained_rows": 4,
            "medium_confidence": 0.5,
            "high_confidence": 0.6,
        },
    ),
}


@pytest.mark.parametrize("task", CASES)
def test_each_option_of_a_task_becomes_its_setting(task: str) -> None:
    field, given, expected = CASES[task]
    section = getattr(tasks, field[0].upper() + field[1:])
    assert set(given) == {info.alias for info in section.model_fields.values()}, "this test names every option"
    deployment = model_deployment(model={"task": task, field: given})
    for settings in (predictor_settings(deployment), local_settings(deployment)):
        assert settings.model_dump(include=set(expected)) == expected


@pytest.mark.parametrize("task", CASES)
def test_where_a_spec_is_silent_the_predictors_own_settings_hold(task: str) -> None:
    field = CASES[task][0]
    silent = predictor_settings(model_deployment(model={"task": task}))
    assert predictor_settings(model_deployment(model={"task": task, field: {}})) == silent


def test_columns_go_as_json_and_so_may_have_any_characters_in_their_names_and_values() -> None:
    settings = predictor_settings(model_deployment(model={"task": "tabular", "tabular": TABLE}))
    assert PredictorSettings.parse(settings.argv(), settings.env()) == settings
    assert [json.loads(column) for column in settings.column] == TABLE["columns"]


def test_features_are_switched_on_off_or_left_to_the_predictor() -> None:
    found = [
        predictor_settings(model_deployment(model={"imageClassification": given})).features
        for given in ({"features": True}, {"features": False}, {})
    ]
    assert found == ["on", "off", "auto"]


def test_the_levels_that_a_spec_is_held_against_are_the_predictors() -> None:
    fields = PredictorSettings.model_fields
    assert fields["medium_confidence"].default == tasks.MEDIUM_CONFIDENCE
    assert fields["high_confidence"].default == tasks.HIGH_CONFIDENCE


def test_the_largest_columns_and_classes_fit_a_command_line() -> None:
    """Linux takes 128 KiB in one argument and 2 MB in all; what JSON escapes takes less room than what UTF-8 makes of 4 bytes."""
    wide = "\U0001f600"
    values = [f"{number:02}{wide * 62}" for number in range(100)]
    columns: list[dict[str, Any]] = [
        {"name": f"{number:03}{wide * 125}", "type": "string", "min": None, "default": values[0]}
        for number in range(200)
    ]
    for column in columns[:10]:
        column["enum"] = values
    classes = [f"{number:03}{wide * 61}" for number in range(200)]
    section = {"columns": columns, "classNames": classes}
    made = model_deployment(model={"task": "tabular", "storageUri": "s3://models/x/", "tabular": section})
    words = [len(word.encode()) for word in predictor_settings(made).argv()]
    assert max(words) < 32 * 1024
    assert sum(words) < 600 * 1024
