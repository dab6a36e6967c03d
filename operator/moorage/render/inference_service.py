"""The InferenceService: what KServe turns into a Deployment, a Service and an autoscaler."""

import hashlib
import json

from moorage.api.predictor import METRICS_PATH, METRICS_PORT
from moorage.api.v1alpha1 import ModelDeployment
from moorage.render.names import POD_HASH, Manifest, child_name, labels, metadata, model_format, pod_labels
from moorage.render.runtime import POD_SECURITY, TERMINATION_GRACE_S
from moorage.render.settings import Capabilities
from moorage.render.storage import source

DEFAULT_SCALE_TARGET = 80
SCRAPED = {
    "prometheus.io/path": METRICS_PATH,
    "prometheus.io/port": str(METRICS_PORT),
    "prometheus.io/scrape": "true",
}
"""On pods: for a Prometheus that finds its targets by them."""


def inference_service(deployment: ModelDeployment, runtime: Manifest, capabilities: Capabilities) -> Manifest:
    """The service that runs `runtime`. Its own annotations hold nothing that changes: KServe copies them to the pods."""
    pod: Manifest = {
        "labels": {**labels(deployment), **pod_labels(deployment.metadata.name)},
        "serviceAccountName": child_name(deployment),
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": TERMINATION_GRACE_S,
        "securityContext": POD_SECURITY,
        **_pull_secrets(deployment),
        "model": {
            "modelFormat": {"name": model_format(deployment), "version": "1"},
            "protocolVersion": "v2",
            "runtime": runtime["metadata"]["name"],
            **_storage(deployment),
        },
    }
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
                **_scaling(deployment),
                "annotations": {POD_HASH: _hash(deployment, runtime, pod), **SCRAPED},
                **pod,
            }
        },
    }


def _scaling(deployment: ModelDeployment) -> Manifest:
    """Not part of the pod: a change here must not replace one."""
    scaling = deployment.spec.scaling
    low, high = scaling.bounds()
    return {
        "minReplicas": low,
        "maxReplicas": high,
        "scaleMetric": scaling.scale_metric or "cpu",
        "scaleTarget": scaling.scale_target or DEFAULT_SCALE_TARGET,
    }


def _hash(deployment: ModelDeployment, runtime: Manifest, pod: Manifest) -> str:
    """Changes when, and only when, pods must be replaced.

    KServe copies the annotation to the pods: it replaces them also after a change of the runtime alone, which KServe
    itself does not follow, and it tells from a Deployment's template whether that has the latest change.
    """
    secret = deployment.spec.model.storage_secret  # on the ServiceAccount, where KServe reads it when a pod is created
    text = json.dumps([runtime["spec"], pod, secret], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _pull_secrets(deployment: ModelDeployment) -> Manifest:
    names = deployment.spec.predictor.image_pull_secrets
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


def _storage(deployment: ModelDeployment) -> Manifest:
    uri = deployment.spec.model.storage_uri
    return {"storageUri": uri} if uri is not None and source(uri).by_initializer else {}
