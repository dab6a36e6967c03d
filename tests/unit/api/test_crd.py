from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from moorage.api.crd import custom_resource_definition
from moorage.api.v1alpha1 import NotYetSupported, Section, Spec

CRD = custom_resource_definition()
VERSION = CRD["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]
SPEC = ROOT["properties"]["spec"]


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from walk(schema["additionalProperties"], f"{path}{{}}")


NODES = list(walk(ROOT))


def not_yet_fields(model: type[BaseModel], schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in model.model_fields.items():
        child = schema["properties"][field.alias or name]
        if any(isinstance(mark, NotYetSupported) for mark in field.metadata):
            yield field.alias or name, child
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from not_yet_fields(field.annotation, child)


def test_the_schema_is_structural() -> None:
    for path, node in NODES:
        assert "$ref" not in node, path
        assert "$defs" not in node, path
        assert "title" not in node, path
        assert "allOf" not in node, path
        assert "oneOf" not in node, path
        assert {"type": "null"} not in node.get("anyOf", []), path
        assert ("anyOf" in node) == ("x-kubernetes-int-or-string" in node), path
        assert "type" in node or "x-kubernetes-int-or-string" in node, path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert node.get("additionalProperties") is not False, path
        assert not node.get("nullable"), path


def test_every_property_has_a_description_that_ends_like_a_sentence() -> None:
    for path, node in NODES:
        for name, child in node.get("properties", {}).items():
            if (path, name) in {("", "metadata"), ("", "apiVersion"), ("", "kind")}:
                continue
            assert child.get("description", "").endswith("."), f"{path}.{name}"


def test_every_string_list_and_map_of_the_spec_has_a_bound() -> None:
    for path, node in walk(SPEC, "spec"):
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, path
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_sections_that_nothing_acts_on_yet_have_no_default() -> None:
    found = dict(not_yet_fields(Spec, SPEC))
    assert set(found) >= {"rollout", "variants", "cache", "monitoring", "gpu"}
    for name, node in found.items():
        assert "default" not in node, name


def test_a_nested_object_has_the_defaults_of_all_its_parts_as_its_own() -> None:
    for path, node in walk(SPEC, "spec"):
        for name, child in node.get("properties", {}).items():
            if child.get("type") != "object" or "default" not in child:
                continue
            parts = {key: part["default"] for key, part in child["properties"].items() if "default" in part}
            assert child["default"] == parts, f"{path}.{name}"


def test_the_default_of_resources_is_complete() -> None:
    assert SPEC["properties"]["predictor"]["default"]["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi"},
        "limits": {"memory": "4Gi"},
    }


def test_only_the_model_is_required() -> None:
    assert ROOT["required"] == ["spec"]
    assert SPEC["required"] == ["model"]
    assert SPEC["properties"]["model"]["required"] == ["task"]


def test_defaults_and_requirements_do_not_meet() -> None:
    for path, node in NODES:
        for name in node.get("required", ()):
            assert "default" not in node["properties"][name], f"{path}.{name}"


def test_kubectl_get_shows_readiness_its_reason_and_the_url() -> None:
    columns = {column["name"]: column for column in VERSION["additionalPrinterColumns"]}
    assert list(columns) == ["Ready", "Reason", "URL", "Replicas", "Version", "Age", "Message"]
    assert columns["Ready"]["jsonPath"] == ".status.conditions[?(@.type=='Ready')].status"
    assert columns["Message"]["priority"] == 1


@pytest.mark.parametrize("path", ["specReplicasPath", "statusReplicasPath", "labelSelectorPath"])
def test_kubectl_scale_finds_its_fields(path: str) -> None:
    node = ROOT
    for word in VERSION["subresources"]["scale"][path].strip(".").split("."):
        node = node["properties"][word]
    assert node["type"] == ("string" if path == "labelSelectorPath" else "integer")


def test_conditions_are_merged_by_type() -> None:
    conditions = ROOT["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_every_rule_of_every_section_is_in_the_crd() -> None:
    rules = [rule for _, node in NODES for rule in node.get("x-kubernetes-validations", [])]
    text = " ".join(rule["rule"] for rule in rules)
    assert "self.task == oldSelf.task" in text
    assert "size(self.metadata.name) <= 48" in text
    assert "quantity(string(self.requests.memory))" in text
    assert all(set(rule) == {"rule", "message"} and rule["message"] for rule in rules)


def test_no_reference_to_another_namespace_can_be_written() -> None:
    assert not [path for path, _ in walk(SPEC, "spec") if path.rsplit(".", 1)[-1].lower().endswith("namespace")]


def test_two_generations_give_the_same_crd() -> None:
    assert custom_resource_definition() == CRD
