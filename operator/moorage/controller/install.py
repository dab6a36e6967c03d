"""The objects of `manifests/install.yaml` and of `moor install`: namespace, identity, rights, policy and controller. Pure."""

from dataclasses import dataclass
from typing import Any

from moorage import __version__
from moorage.controller.policy import policy
from moorage.controller.rbac import GRANTS, Place

NAMESPACE = "moorage-system"
NAME = "moorage-controller"
PORT = 8085
IMAGE = f"moorage/controller:{__version__}"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Installation:
    """What can be chosen."""

    home: str = NAMESPACE
    """The namespace of the controller itself."""
    namespaces: tuple[str, ...] = ()
    """Those with models; none stands for all. With some the controller has no right outside of them and of its home."""
    image: str = IMAGE
    replicas: int = 1
    """One leads, the others stand by."""

    @property
    def name(self) -> str:
        """Of what has no namespace: several installations, each with its own namespaces, must not share it."""
        return f"{self.home}.{NAME}" if self.namespaces else NAME


def manifests(chosen: Installation | None = None) -> list[Manifest]:
    """Everything but the CRD, which is applied first and on its own so that it outlives the controller."""
    chosen = chosen or Installation()
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": chosen.home, "labels": {**_labels(), **restricted}},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata(NAME, chosen.home)},
        *_bound(chosen, ("home",), f"{NAME}-lease", chosen.home),
        *(_bound(chosen, ("models", "cluster"), chosen.name) if not chosen.namespaces else ()),
        *(each for namespace in chosen.namespaces for each in _bound(chosen, ("models",), NAME, namespace)),
        *policy(chosen.name, _labels(), f"system:serviceaccount:{chosen.home}:{NAME}", chosen.namespaces),
        _deployment(chosen),
    ]


def _labels() -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "moorage",
        "app.kubernetes.io/component": "controller",
        "app.kubernetes.io/part-of": "moorage",
    }


def _metadata(name: str, namespace: str | None = None) -> Manifest:
    return {"name": name, **({"namespace": namespace} if namespace else {}), "labels": _labels()}


def _bound(chosen: Installation, where: tuple[Place, ...], name: str, namespace: str | None = None) -> list[Manifest]:
    """A role with the grants of some places, in one namespace or (None) in all, and the controller bound to it."""
    group, kind = "rbac.authorization.k8s.io", "Role" if namespace else "ClusterRole"
    return [
        {
            "apiVersion": f"{group}/v1",
            "kind": kind,
            "metadata": _metadata(name, namespace),
            "rules": [grant.rule() for grant in GRANTS if grant.where in where],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": f"{kind}Binding",
            "metadata": _metadata(name, namespace),
            "roleRef": {"apiGroup": group, "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": chosen.home}],
        },
    ]


def _deployment(chosen: Installation) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(NAME, chosen.home),
        "spec": {
            "replicas": chosen.replicas,
            # The lease keeps two from writing, so the next one may know the cluster before this one ends.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": _labels()},
            "template": {"metadata": {"labels": _labels()}, "spec": _pod(chosen)},
        },
    }


def _pod(chosen: Installation) -> Manifest:
    return {
        "serviceAccountName": NAME,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "controller",
                "image": chosen.image,
                "command": ["moor"],
                "args": [
                    "controller",
                    "--host=0.0.0.0",
                    f"--port={PORT}",
                    *(f"--namespace={namespace}" for namespace in chosen.namespaces),
                ],
                "ports": [{"name": "http", "containerPort": PORT}],
                "livenessProbe": _probe("/healthz"),
                "readinessProbe": _probe("/readyz"),
                "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
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
