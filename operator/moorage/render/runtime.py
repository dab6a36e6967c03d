"""The ServingRuntime of a ModelDeployment: the predictor's container, as KServe puts it into each pod."""

from typing import Any

from moorage.api.access import KEYS_DIR, KEYS_FILE
from moorage.api.predictor import GRPC_PORT, HTTP_PORT, METRICS_PATH, METRICS_PORT
from moorage.api.v1alpha1 import ModelDeployment
from moorage.api.v1alpha1.predictor import Limits, Requests
from moorage.render import rate_limits, transport
from moorage.render.literal import literal
from moorage.render.mounted import Mounted
from moorage.render.names import Manifest, child_name, metadata, model_format
from moorage.render.predictor_settings import (
    DRAIN_DELAY_S,
    SHUTDOWN_GRACE_S,
    TERMINATION_LOG,
    has_api_keys,
    predictor_settings,
)
from moorage.render.settings import RenderSettings
from moorage.render.transport import probes

PRE_STOP_S = 5
"""Endpoints take a moment to forget a pod; until then it goes on accepting."""
TERMINATION_GRACE_S = PRE_STOP_S + int(DRAIN_DELAY_S + SHUTDOWN_GRACE_S) + 5
USER = 65532
KEYS_VOLUME = "access-keys"
_GROUP_READS = 0o440

POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def serving_runtime(deployment: ModelDeployment, settings: RenderSettings) -> Manifest:
    """One runtime for each deployment, because argv differs; not auto-selected, so that nobody else gets it by accident."""
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": metadata(deployment, child_name(deployment)),
        "spec": {
            # Where KServe sends Prometheus, for those who switch its scraping on.
            "annotations": {
                "prometheus.kserve.io/path": METRICS_PATH,
                "prometheus.kserve.io/port": str(METRICS_PORT),
            },
            "supportedModelFormats": [{"name": model_format(deployment), "version": "1", "autoSelect": False}],
            "protocolVersions": ["v1", "v2", "grpc-v2"],
            "multiModel": False,
            "containers": [_container(deployment, settings)],
            # Without a size: a checkpoint is converted there. The container's own ephemeral-storage limit bounds it.
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                *_keys_volume(deployment),
                *[each.as_volume() for each in _secrets(deployment)],
            ],
        },
    }


def _container(deployment: ModelDeployment, settings: RenderSettings) -> Manifest:
    arguments = predictor_settings(deployment)
    health = deployment.spec.health
    ready, live = probes(deployment)
    return {
        "name": "kserve-container",
        "image": deployment.spec.predictor.image or _image(deployment, settings),
        "command": ["python", "-m", "moorage_predictor"],
        "args": [literal(word) for word in arguments.argv()],
        "env": [
            {"name": name, "value": literal(value)}
            for name, value in sorted({**arguments.env(), "HOME": "/tmp", "PYTHONUNBUFFERED": "1"}.items())  # noqa: S108 - an emptyDir
        ],
        "ports": [
            {"name": "http1", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "resources": _resources(deployment),
        "startupProbe": _probe(ready, health.startup),
        "readinessProbe": _probe(ready, health.readiness),
        "livenessProbe": _probe(live, health.liveness),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}},
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir
            *([{"name": KEYS_VOLUME, "mountPath": KEYS_DIR, "readOnly": True}] if has_api_keys(deployment) else []),
            *[each.as_mount() for each in _secrets(deployment)],
        ],
    }


def _secrets(deployment: ModelDeployment) -> list[Mounted]:
    return [*rate_limits.secrets(deployment), *transport.secrets(deployment)]


def _image(deployment: ModelDeployment, settings: RenderSettings) -> str:
    served_by_torchserve = deployment.spec.predictor.runtime == "torchserve"
    return settings.torchserve_image if served_by_torchserve else settings.predictor_image


def _keys_volume(deployment: ModelDeployment) -> list[Manifest]:
    """The kubelet reads the Secret, and follows its changes; the operator never does. What else is in it stays out of the pod."""
    access = deployment.spec.access
    if access is None or access.api_keys is None:
        return []
    return [
        {
            "name": KEYS_VOLUME,
            "secret": {
                "secretName": access.api_keys.secret,
                "defaultMode": _GROUP_READS,
                "items": [{"key": KEYS_FILE, "path": KEYS_FILE}],
            },
        }
    ]


def _probe(http_get: Manifest, timing: Any) -> Manifest:
    return {
        "httpGet": http_get,
        "periodSeconds": timing.period_seconds,
        "timeoutSeconds": timing.timeout_seconds,
        "failureThreshold": timing.failure_threshold,
        "successThreshold": 1,
    }


def _resources(deployment: ModelDeployment) -> Manifest:
    resources = deployment.spec.predictor.resources
    return {"requests": _amounts(resources.requests), "limits": _amounts(resources.limits)}


def _amounts(section: Requests | Limits) -> dict[str, str]:
    return {name: str(value) for name, value in section.model_dump(by_alias=True, exclude_none=True).items()}
