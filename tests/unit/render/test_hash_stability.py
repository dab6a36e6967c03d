"""An upgrade of the operator that changes nothing for a pod must leave it alone; where it does not, the changelog must say so."""

import json
from typing import Any

import pytest
from tests.builders import model_deployment

from moorage import __version__
from moorage.render import POD_HASH, RenderSettings, render

PINNED = RenderSettings(predictor_image="example.com/predictor@sha256:0")


def pod_hash(**changes: Any) -> str:
    found: str = render(model_deployment(**changes), PINNED)[-1]["spec"]["predictor"]["annotations"][POD_HASH]
    return found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "dbfbb73160ac"),
        ({"scaling": {"replicas": 2}}, "dbfbb73160ac"),
        ({"predictor": {"precision": "bf16"}, "model": {"storageUri": "hf://org/repo"}}, "b01ba0d75344"),
    ],
)
def test_the_pods_of_a_pinned_image_are_those_of_the_version_before(changes: dict[str, Any], expected: str) -> None:
    """Fails where every pod of every user would be replaced by an upgrade: then say so in docs/changelog.md, and write it here."""
    assert pod_hash(**changes) == expected


def test_the_operators_version_is_in_the_default_image_and_nowhere_else() -> None:
    assert __version__ in json.dumps(render(model_deployment()))
    assert __version__ not in json.dumps(render(model_deployment(), PINNED))


def test_the_order_in_which_a_user_writes_fields_changes_no_byte() -> None:
    spec = {"resources": {"limits": {"memory": "3Gi"}, "requests": {"cpu": "2"}}, "precision": "bf16"}
    turned = {"precision": "bf16", "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "3Gi"}}}
    assert json.dumps(render(model_deployment(predictor=spec))) == json.dumps(
        render(model_deployment(predictor=turned))
    )
