"""What the controller may do, rule by rule, and why. `manifests/install.yaml` is made from this table.

The contract tests run the controller under exactly these rules; a verb that is missing here fails them.
"""

from dataclasses import dataclass
from typing import Any

from moorage.api.v1alpha1 import GROUP, PLURAL


@dataclass(frozen=True)
class Grant:
    """One rule of the ClusterRole."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str

    def rule(self) -> dict[str, Any]:
        """The rule in Kubernetes' own form."""
        return {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs)}


_CHILD = ("get", "list", "watch", "create", "patch", "delete")

GRANTS = (
    Grant(GROUP, (PLURAL,), ("get", "list", "watch"), "what is asked for; the controller never writes a spec"),
    Grant(GROUP, (f"{PLURAL}/status",), ("patch",), "conditions, URL, replicas"),
    Grant(
        GROUP,
        (f"{PLURAL}/finalizers",),
        ("update",),
        "owner references with blockOwnerDeletion, where admission checks them",
    ),
    Grant("serving.kserve.io", ("inferenceservices", "servingruntimes"), _CHILD, "the service and its runtime"),
    Grant("", ("serviceaccounts",), _CHILD, "the pods' identity, without a token"),
    Grant("networking.k8s.io", ("networkpolicies",), _CHILD, "who may reach a predictor, and what it may reach"),
    Grant("policy", ("poddisruptionbudgets",), _CHILD, "no more than one pod evicted at a time"),
    Grant("", ("pods",), ("list", "watch"), "why a predictor is not ready; only those with our label are asked for"),
    Grant(
        "apps",
        ("deployments",),
        ("list", "watch"),
        "whether KServe's Deployment has the latest change; only those with our label",
    ),
    Grant("", ("events",), ("create",), "transitions of conditions, for kubectl describe"),
    Grant(
        "apiextensions.k8s.io",
        ("customresourcedefinitions",),
        ("list", "watch"),
        "kopf learns from it when our kind appears",
    ),
)
