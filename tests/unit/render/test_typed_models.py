"""Every field of the rendered objects exists in its kind, by the classes of the `kubernetes` and `kserve` packages."""

import re
from collections.abc import Iterator
from typing import Any

import kubernetes.client
import pytest
from kserve import models as kserve_models
from tests.builders import model_deployment

from moorage.render import Manifest, render

TYPES = {
    "ServiceAccount": "V1ServiceAccount",
    "NetworkPolicy": "V1NetworkPolicy",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "ServingRuntime": "V1alpha1ServingRuntime",
    "InferenceService": "V1beta1InferenceService",
}
CLIENT = kubernetes.client.ApiClient()
RICHEST: dict[str, Any] = {
    "metadata": {"uid": "u-1"},
    "model": {"storageSecret": "keys", "architecture": "timm/resnet18", "sha256": "0" * 64},
    "scaling": {"replicas": 3},
    "predictor": {"imagePullSecrets": ["registry"], "resources": {"limits": {"cpu": 2}}},
}


def lost(value: Any, type_name: str, path: str) -> Iterator[str]:
    """The fields of a value that its type does not have."""
    if item_type := re.fullmatch(r"list\[(.+)\]", type_name):
        for index, item in enumerate(value):
            yield from lost(item, item_type[1], f"{path}[{index}]")
    elif known := getattr(kubernetes.client.models, type_name, None):
        kept = CLIENT.sanitize_for_serialization(known.from_dict(value))
        yield from (f"{path}.{key}" for key in value if kept.get(key) != value[key])
    elif known := getattr(kserve_models, type_name, None):
        types = {known.attribute_map[name]: type_ for name, type_ in known.openapi_types.items()}
        for key, child in value.items():
            yield from lost(child, types[key], f"{path}.{key}") if key in types else [f"{path}.{key}"]
    elif type_name.startswith("dict"):
        assert isinstance(value, dict), path
    else:
        assert isinstance(value, {"str": str, "int": int, "bool": bool}[type_name]), path


@pytest.mark.timeout(20)  # the first one loads some hundred classes
@pytest.mark.parametrize("manifest", render(model_deployment(**RICHEST)), ids=lambda manifest: manifest["kind"])
def test_every_field_exists_in_the_kind(manifest: Manifest) -> None:
    assert list(lost(manifest, TYPES[manifest["kind"]], manifest["kind"])) == []
