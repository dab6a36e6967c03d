"""The objects of `manifests/install.yaml`: namespace, identity, rights and the controller itself. Pure."""

from typing import Any

from moorage import __version__
from moorage.controller.rbac import GRANTS

NAMESPACE = "moorage-system"
NAME = "moorage-controller"
PORT = 8085
IMAGE = f"moorage/controller:{__version__}"

Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    """Everything but the CRD, which is applied first and on its own so that it outlives the controller."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": NAMESPACE,
                "labels": {**_labels(), "pod-security.kubernetes.io/enforce": "restricted"},
            },
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(NAMESPACE)},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": _metadata(),
            "rules": [grant.rule() for grant in GRANTS],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": _metadata(),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        },
        _deployment(),
    ]


def _labels() -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "moorage",
        "app.kubernetes.io/component": "controller",
        "app.kubernetes.io/part-of": "moorage",
    }


def _metadata(namespace: str | None = None) -> Manifest:
    return {"name": NAME, **({"namespace": namespace} if namespace else {}), "labels": _labels()}


def _deployment() -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(NAMESPACE),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},  # never two controllers at once
            "selector": {"matchLabels": _labels()},
            "template": {"metadata": {"labels": _labels()}, "spec": _pod()},
        },
    }


def _pod() -> Manifest:
    return {
        "serviceAccountName": NAME,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "controller",
                "image": IMAGE,
                "command": ["moor"],
                "args": ["controller", "--host=0.0.0.0", f"--port={PORT}"],
                "ports": [{"name": "http", "containerPort": PORT}],
                "livenessProbe": _probe("/healthz"),
                "readinessProbe": _probe("/readyz"),
                "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
            }
        ],
        "terminationGracePeriodSeconds": 15,
    }


def _probe(path: str) -> Manifest:
    return {"httpGet": {"path": path, "port": PORT}, "periodSeconds": 10, "timeoutSeconds": 5}
