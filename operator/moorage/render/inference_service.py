"""The InferenceService: what KServe turns into a Deployment, a Service and an autoscaler."""

from moorage.api.v1alpha1 import ModelDeployment
from moorage.render.names import RUNTIME_HASH, Manifest, child_name, labels, metadata, pod_labels
from moorage.render.runtime import MODEL_FORMAT, POD_SECURITY, TERMINATION_GRACE_S, runtime_hash
from moorage.render.settings import Capabilities
from moorage.render.storage import source

DEFAULT_SCALE_TARGET = 80


def inference_service(deployment: ModelDeployment, runtime: Manifest, capabilities: Capabilities) -> Manifest:
    """The service that runs `runtime`. Its own annotations hold nothing that changes: KServe copies them to the pods."""
    low, high = deployment.spec.scaling.bounds()
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            **metadata(deployment, deployment.metadata.name),
            "annotations": {
                "serving.kserve.io/autoscalerClass": "hpa",
                "serving.kserve.io/deploymentMode": capabilities.deployment_mode,
            },
        },
        "spec": {
            "predictor": {
                "labels": {**labels(deployment), **pod_labels(deployment)},
                "annotations": {RUNTIME_HASH: runtime_hash(runtime)},
                "minReplicas": low,
                "maxReplicas": high,
                "scaleMetric": deployment.spec.scaling.scale_metric or "cpu",
                "scaleTarget": deployment.spec.scaling.scale_target or DEFAULT_SCALE_TARGET,
                "serviceAccountName": child_name(deployment),
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": TERMINATION_GRACE_S,
                "securityContext": POD_SECURITY,
                **_pull_secrets(deployment),
                "model": {
                    "modelFormat": {"name": MODEL_FORMAT, "version": "1"},
                    "protocolVersion": "v2",
                    "runtime": runtime["metadata"]["name"],
                    **_storage(deployment),
                },
            }
        },
    }


def _pull_secrets(deployment: ModelDeployment) -> Manifest:
    names = deployment.spec.predictor.image_pull_secrets
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


def _storage(deployment: ModelDeployment) -> Manifest:
    uri = deployment.spec.model.storage_uri
    return {"storageUri": uri} if uri is not None and source(uri).by_initializer else {}
