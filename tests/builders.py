"""Inputs of tests: each call names only what matters to the test, the rest is a sound default."""

from copy import deepcopy
from typing import Any

from moorage.api import ModelDeployment, check

MODEL = {"task": "image-classification", "storageUri": "s3://bucket/cats/"}


def document(
    *,
    name: str = "cats",
    namespace: str = "demo",
    metadata: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """A ModelDeployment as YAML gives it. `model` is merged over the default model; None there removes a field."""
    merged = {key: value for key, value in {**MODEL, **(model or {})}.items() if value is not None}
    return deepcopy(
        {
            "apiVersion": "moorage.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name, "namespace": namespace, **(metadata or {})},
            "spec": {"model": merged, **sections},
        }
    )


def model_deployment(**changes: Any) -> ModelDeployment:
    """The same, parsed; takes what `document` takes."""
    return check(document(**changes))


def stored(*, uid: str = "uid-1", generation: int = 1, version: int = 100, **changes: Any) -> dict[str, Any]:
    """The same as an API server returns it."""
    server = {"uid": uid, "generation": generation, "resourceVersion": str(version)}
    return document(metadata={**server, **changes.pop("metadata", {})}, **changes)
