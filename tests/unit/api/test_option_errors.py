import pytest
from pydantic import ValidationError

from moorage.api.option_errors import _EXPECTED, problems
from moorage.api.predictor import PredictorSettings

GOOD = {"task": "image-classification", "model_dir": "m"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "nope"}, "--task: expected image-classification, tabular, object-detection, or a class of yours as "),
        (
            {"model_version": "2024/05"},
            "--model-version: expected letters, digits, '.', '_' and '-', the first and the last",
        ),
        ({"sha256": "zzz"}, "--sha256: expected 64 hexadecimal digits in lower case, found 'zzz'"),
        ({"architecture": "resnet"}, "--architecture: expected timm/NAME, torchvision/NAME or ultralytics/NAME, "),
        ({"http_port": 70000}, "--http-port: Input should be less than or equal to 65535"),
        ({"model_dir": None}, "expected exactly one of --model-dir, --storage-uri and --model-repository"),
    ],
)
def test_a_mistake_is_told_with_the_options_name_in_words(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        PredictorSettings.model_validate({**GOOD, **changes})
    [problem] = problems(error.value)
    assert problem.startswith(said)


def test_an_address_that_may_hold_a_password_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as error:
        PredictorSettings.model_validate({**GOOD, "otel_endpoint": "https://user:s3cret@collector"})
    [problem] = problems(error.value)
    assert problem.endswith("found something else")
    assert "s3cret" not in problem


def test_no_option_shows_people_a_regular_expression() -> None:
    schema = PredictorSettings.model_json_schema()["properties"]
    matched = {
        name for name, field in schema.items() if any("pattern" in one for one in [field, *field.get("anyOf", ())])
    }
    assert matched == set(_EXPECTED)
