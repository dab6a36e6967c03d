"""Names, labels and owner references of everything that belongs to one ModelDeployment. Deterministic, so a retry meets its own."""

from typing import Any

from moorage.api.v1alpha1 import API_VERSION, KIND, ModelDeployment

Manifest = dict[str, Any]

OWNER_LABEL = "moorage.dev/model-deployment"
MANAGED_BY = "moorage"
POD_HASH = "moorage.dev/pod-hash"


def model_format(deployment: ModelDeployment) -> str:
    """What KServe matches an InferenceService and its ServingRuntime by."""
    return f"moorage-{deployment.spec.model.task}"


def child_name(deployment: ModelDeployment) -> str:
    """The name of every child but the InferenceService, which has the deployment's own name; as KServe names its children."""
    return f"{deployment.metadata.name}-predictor"


def labels(deployment: ModelDeployment) -> dict[str, str]:
    """Labels of every child. KServe copies them to the pods, so nothing in here may change while a model serves."""
    return {
        "app.kubernetes.io/component": "predictor",
        "app.kubernetes.io/managed-by": MANAGED_BY,
        "app.kubernetes.io/part-of": "moorage",
        OWNER_LABEL: deployment.metadata.name,
    }


def pod_labels(name: str) -> dict[str, str]:
    """What selects the pods of the deployment of that name, here and in status.selector."""
    return {OWNER_LABEL: name, "component": "predictor"}


def metadata(deployment: ModelDeployment, name: str) -> Manifest:
    """Name, labels and owner of a child, so that garbage collection removes it with its owner.

    A deployment that was read from a file has no uid yet, and its children have no owner.
    """
    owner = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": deployment.metadata.name,
        "uid": deployment.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "name": name,
        "namespace": deployment.metadata.namespace,
        "labels": labels(deployment),
        **({"ownerReferences": [owner]} if deployment.metadata.uid else {}),
    }
