from typing import Any

import pytest
from tests.builders import document

from moorage.api import Cause, InvalidDeploymentError, check

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"model": {"task": None}}, "spec.model.task: Required value"),
    "unknown field": ({"scaling": {"minimum": 1}}, 'unknown field "spec.scaling.minimum"'),
    "enum": (
        {"predictor": {"runtime": "onnx"}},
        'spec.predictor.runtime: Unsupported value: "onnx": supported values: "torch", "torchserve", "custom"',
    ),
    "minimum": (
        {"scaling": {"minReplicas": -1}},
        "spec.scaling.minReplicas: Invalid value: -1: spec.scaling.minReplicas in body should be greater than or equal to 0",
    ),
    "maximum": (
        {"scaling": {"maxReplicas": 10**9}},
        "spec.scaling.maxReplicas: Invalid value: 1000000000: "
        "spec.scaling.maxReplicas in body should be less than or equal to 1000",
    ),
    "too long": (
        {"model": {"version": "v" * 64}},
        "spec.model.version: Too long: may not be more than 63 bytes",
    ),
    "too short": (
        {"access": {"jwt": {"issuer": "https://a", "audience": "", "jwksUri": "https://a/k"}}},
        'spec.access.jwt.audience: Invalid value: "": spec.access.jwt.audience in body should be at least 1 chars long',
    ),
    "too many items": (
        {"predictor": {"imagePullSecrets": ["a"] * 9}},
        "spec.predictor.imagePullSecrets: Too many: 9: must have at most 8 items",
    ),
    "too few items": (
        {"variants": []},
        "spec.variants: Invalid value: 0: spec.variants in body should have at least 2 items",
    ),
    "integer wanted": (
        {"scaling": {"minReplicas": "2"}},
        'spec.scaling.minReplicas: Invalid value: "string": spec.scaling.minReplicas in body must be of type integer: "string"',
    ),
    "a fraction is no integer": (
        {"scaling": {"minReplicas": 1.5}},
        'spec.scaling.minReplicas: Invalid value: "number": spec.scaling.minReplicas in body must be of type integer: "number"',
    ),
    "infinity is no integer": (
        {"scaling": {"minReplicas": float("inf")}},
        'spec.scaling.minReplicas: Invalid value: "number": spec.scaling.minReplicas in body must be of type integer: "number"',
    ),
    "string wanted": (
        {"model": {"version": 2}},
        'spec.model.version: Invalid value: "integer": spec.model.version in body must be of type string: "integer"',
    ),
    "true is no string": (
        {"model": {"name": True}},
        'spec.model.name: Invalid value: "boolean": spec.model.name in body must be of type string: "boolean"',
    ),
    "object wanted": (
        {"scaling": []},
        'spec.scaling: Invalid value: "array": spec.scaling in body must be of type object: "array"',
    ),
    "list wanted": (
        {"variants": {"a": 1}},
        'spec.variants: Invalid value: "object": spec.variants in body must be of type array: "object"',
    ),
    "integer or string wanted": (
        {"predictor": {"resources": {"requests": {"cpu": 1.5}}}},
        'spec.predictor.resources.requests.cpu: Invalid value: "number": '
        'spec.predictor.resources.requests.cpu in body must be of type integer,string: "number"',
    ),
    "a quantity of another form": (
        {"predictor": {"resources": {"requests": {"cpu": "lots"}}}},
        'spec.predictor.resources.requests.cpu: Invalid value: "": expected a quantity such as 500m, 2 or 4Gi',
    ),
    "a string of another form": (
        {"model": {"sha256": "A" * 64}},
        'spec.model.sha256: Invalid value: "string": expected 64 lower-case hexadecimal digits, as sha256sum prints them',
    ),
    "a rule between fields": (
        {"scaling": {"minReplicas": 3, "maxReplicas": 2}},
        'spec.scaling: Invalid value: "object": minReplicas is larger than maxReplicas: lower minReplicas or raise maxReplicas',
    ),
    "a rule of the whole": (
        {"name": "c" * 49},
        '<nil>: Invalid value: "object": metadata.name is longer than 48 characters, '
        "too long for the labels of its pods: shorten it",
    ),
    "an item of a list": (
        {"variants": [{"name": "a", "weight": 50}, {"name": "B", "weight": 50}]},
        'spec.variants[1].name: Invalid value: "string": '
        "expected lower-case letters, digits and '-', beginning with a letter",
    ),
}


@pytest.mark.parametrize(("changes", "said"), CASES.values(), ids=CASES)
def test_a_mistake_is_told_in_the_words_of_the_api_server(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidDeploymentError) as error:
        check(document(**changes))
    assert str(error.value).endswith(f"is invalid: {said}")


def test_all_mistakes_are_told_in_the_order_of_their_fields() -> None:
    with pytest.raises(InvalidDeploymentError) as error:
        check(document(scaling={"maxReplicas": 0, "x": 1}, model={"task": "poetry"}))
    assert str(error.value).splitlines() == [
        'The ModelDeployment "cats" is invalid:',
        '* spec.model.task: Unsupported value: "poetry": supported values: '
        '"image-classification", "object-detection", "tabular", "custom"',
        "* spec.scaling.maxReplicas: Invalid value: 0: spec.scaling.maxReplicas in body should be greater than or equal to 1",
        '* unknown field "spec.scaling.x"',
    ]
    assert error.value.name == "cats"
    assert error.value.mistakes[-1] == Cause("spec.scaling.x", "unknown field")


@pytest.mark.parametrize("thing", [None, "text", 5, [], [{}], {"metadata": "x"}, {"metadata": {"name": None}}])
def test_a_document_that_is_no_object_at_all_is_a_mistake_like_any_other(thing: Any) -> None:
    with pytest.raises(InvalidDeploymentError):
        check(thing)


@pytest.mark.parametrize("field", ["labels", "annotations", "namespace", "uid"])
def test_a_null_in_the_metadata_counts_as_absent(field: str) -> None:
    assert check(document(metadata={field: None})).metadata.name == "cats"


def test_a_null_in_the_spec_counts_as_absent() -> None:
    assert check(document(scaling={"minReplicas": None}, health=None)) == check(document(scaling={}))


def test_a_whole_number_written_as_a_fraction_is_an_integer() -> None:
    assert check(document(scaling={"minReplicas": 2.0})).spec.scaling.min_replicas == 2


def test_so_it_is_in_a_list_as_kubectl_sends_it() -> None:
    tabular = {"columns": [{"name": "a", "enum": [1.0, 2.0]}]}
    model = check(document(model={"task": "tabular", "storageUri": "s3://bucket/a/", "tabular": tabular})).spec.model
    assert model.tabular is not None
    assert model.tabular.columns is not None
    assert model.tabular.columns[0].enum == [1, 2]


def test_the_status_is_no_input() -> None:
    assert check({**document(), "status": {"conditions": "whatever"}}) == check(document())


def test_a_mistake_never_shows_a_value_that_could_be_a_secret() -> None:
    with pytest.raises(InvalidDeploymentError) as error:
        check(document(model={"storageUri": "s3://user:hunter2 @bucket/x"}))
    assert "hunter2" not in str(error.value)
