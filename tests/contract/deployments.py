"""ModelDeployments on the API server of a test, and whether the controller has done with them. Used by all tests of this folder."""

from typing import Any

from tests.contract.spec_table import document
from tests.control_plane.client import Api, condition

Object = dict[str, Any]


def apply(api: Api, namespace: str, name: str = "cats", **spec: Any) -> Object:
    """Make or change one; what the API server says of it."""
    made = document(name, **spec)
    made["metadata"]["namespace"] = namespace
    return api.apply(made)


def ready(api: Api, namespace: str, name: str = "cats") -> bool:
    """Whether it is Ready in its present form."""
    mdep = api.get("ModelDeployment", namespace, name)
    found = condition(mdep, "Ready")
    return found.get("status") == "True" and found["observedGeneration"] == mdep["metadata"]["generation"]
