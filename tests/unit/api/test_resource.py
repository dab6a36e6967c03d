from decimal import Decimal
from typing import Any

import pytest
from tests.builders import model_deployment

from moorage.api import InvalidDeploymentError
from moorage.api.v1alpha1.predictor import amount
from moorage.api.v1alpha1.section import seconds


def refused(**changes: Any) -> str:
    with pytest.raises(InvalidDeploymentError) as error:
        model_deployment(**changes)
    return str(error.value)


def test_the_task_cannot_be_changed() -> None:
    old, new = model_deployment(), model_deployment(model={"task": "tabular"})
    assert new.check_update(old) == ["task cannot be changed: create a second ModelDeployment and delete this one"]


def test_everything_else_can_be_changed() -> None:
    old = model_deployment()
    new = model_deployment(model={"storageUri": "pvc://claim/x", "name": "other"}, scaling={"replicas": 2})
    assert new.check_update(old) == []
    assert old.check_update(old) == []


def test_the_models_name_is_that_of_the_deployment_unless_it_has_one() -> None:
    assert model_deployment(name="cats").model_name == "cats"
    assert model_deployment(model={"name": "Cats.v2"}).model_name == "Cats.v2"


@pytest.mark.parametrize("word", ["async", "batch"])
def test_words_of_the_gateway_are_no_model_names(word: str) -> None:
    assert "words of the gateway's paths" in refused(name=word)
    assert "words of the gateway's paths" in refused(model={"name": word})
    assert model_deployment(name=word, model={"name": "cats"}).model_name == "cats"


@pytest.mark.parametrize("name", ["Cats", "1cats", "cats-", "cats.v2", "cats_2", "c" * 49, "cats\n"])
def test_a_name_that_a_service_or_label_could_not_have_is_refused(name: str) -> None:
    assert "metadata.name" in refused(name=name)


@pytest.mark.parametrize(
    "uri",
    [
        "cats",
        "http://host/x",
        "ftp://host/x",
        "S3://bucket/x",
        "s3://",
        "s3:// bucket",
        "s3://bucket/$(id)",
        "s3://bucket/`id`",
        "s3://bucket/a;b",
        's3://bucket/"',
        "s3://bucket/'",
        "s3://bucket/x\n",
        "s3://bucket/x\r\nHost: y",
        "s3://bucket/{{7*7}}",
        "s3://bucket/../x",
        "file:///models/../../etc/passwd",
        "https://user@host/x",
        "https://user:secret@host/x",
        "https://[::1]/x",
        "s3://b/" + "x" * 2048,
    ],
)
def test_a_storage_uri_with_tricks_is_refused(uri: str) -> None:
    assert "spec.model" in refused(model={"storageUri": uri})


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/cats/",
        "gs://bucket/cats",
        "pvc://claim/a/b.pth",
        "https://host.example/x.safetensors?version=2&x=1",
        "hf://org/repository",
        "oci://registry.example.com/cats:1.0",
        "pkg://package/weights.pth",
        "file:///models/cats",
    ],
)
def test_a_storage_uri_of_each_scheme_is_valid(uri: str) -> None:
    assert model_deployment(model={"storageUri": uri}).spec.model.storage_uri == uri


@pytest.mark.parametrize(
    ("scaling", "bounds"),
    [
        ({}, (1, 3)),
        ({"replicas": 4}, (4, 4)),
        ({"minReplicas": 2}, (2, 3)),
        ({"minReplicas": 5}, (5, 5)),
        ({"maxReplicas": 8}, (1, 8)),
        ({"minReplicas": 0}, (0, 3)),
        ({"minReplicas": 2, "maxReplicas": 2}, (2, 2)),
    ],
)
def test_the_bounds_of_scaling_are_filled_in(scaling: dict[str, int], bounds: tuple[int, int]) -> None:
    assert model_deployment(scaling=scaling).spec.scaling.bounds() == bounds


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"scaling": {"replicas": 2, "minReplicas": 1}}, "replicas fixes"),
        ({"scaling": {"replicas": 2, "scaleTarget": 50}}, "replicas fixes"),
        ({"scaling": {"minReplicas": 4, "maxReplicas": 3}}, "larger than maxReplicas"),
        ({"scaling": {"scaleTarget": 101}}, "percentage"),
        ({"scaling": {"scaleToZeroAfter": "5m"}}, "needs minReplicas: 0"),
        ({"rollout": {"strategy": "rolling", "canaryTrafficPercent": 5}}, "needs strategy: canary"),
        ({"variants": [{"name": "a", "weight": 50}, {"name": "b", "weight": 49}]}, "add up to 100"),
        ({"variants": [{"name": "a", "weight": 50}, {"name": "a", "weight": 50}]}, "same name"),
        ({"predictor": {"resources": {"requests": {"memory": "5Gi"}}}}, "larger than limits.memory"),
        ({"predictor": {"resources": {"limits": {"cpu": "500m"}}}}, "larger than limits.cpu"),
        (
            {"predictor": {"resources": {"requests": {"ephemeral-storage": 2}, "limits": {"ephemeral-storage": 1}}}},
            "larger than limits.ephemeral-storage",
        ),
        ({"model": {"storageUri": None}}, "storageUri is missing"),
        ({"model": {"task": "tabular", "architecture": "timm/resnet18"}}, "only known for task"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes: dict[str, Any], word: str) -> None:
    assert word in refused(**changes)


@pytest.mark.parametrize(
    ("quantity", "number"),
    [("500m", "0.5"), ("2", 2), (2, 2), ("4Gi", 4 * 2**30), ("1.5k", 1500), ("1Ti", 2**40), ("0.25", "0.25")],
)
def test_a_quantity_is_a_number(quantity: str | int, number: str | int) -> None:
    assert amount(quantity) == Decimal(number)


@pytest.mark.parametrize("quantity", ["", "m", "1.", ".5", "-1", "1e3", "4gi", "4 Gi", "4Gi\n", "1Ei", -1, "٣"])
def test_another_form_is_no_quantity(quantity: str | int) -> None:
    assert "expected a quantity" in refused(predictor={"resources": {"limits": {"memory": quantity}}})


@pytest.mark.parametrize(("text", "expected"), [("300ms", 0.3), ("30s", 30), ("5m", 300), ("2h", 7200)])
def test_a_duration_is_seconds(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)
    assert model_deployment(cache={"ttl": text}).spec.cache is not None


@pytest.mark.parametrize("text", ["0s", "5", "m", "5 m", "-5m", "1.5s", "5d", "1h30m", "5m\n"])
def test_another_form_is_no_duration(text: str) -> None:
    assert "expected one number with ms, s, m or h" in refused(cache={"ttl": text})


def test_a_duration_without_a_unit_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="'5'"):
        seconds("5")
