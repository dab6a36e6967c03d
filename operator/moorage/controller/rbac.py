"""What the controller may do, rule by rule, and why. `manifests/install.yaml` and `moor install` are made from this table.

The contract tests run the controller under exactly these rules: a verb that is missing here fails them, and so does one
that the API server's audit log never shows, unless `seldom` says when it is used.
"""

from dataclasses import dataclass
from typing import Any, Literal

from moorage.api.v1alpha1 import GROUP, PLURAL

LEASE_NAME = "moorage-controller"


Place = Literal["models", "cluster", "home"]


@dataclass(frozen=True)
class Grant:
    """One rule of a role."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    where: Place = "models"
    """In every namespace with models, of no namespace (and only for who looks after all), or in the controller's own alone."""
    names: tuple[str, ...] = ()
    """Of the objects that it is limited to, if it is."""
    seldom: tuple[tuple[str, str], ...] = ()
    """Verbs that no audit log of a healthy cluster shows, and why they are needed all the same."""

    def rule(self) -> dict[str, Any]:
        """The rule in Kubernetes' own form."""
        limited = {"resourceNames": list(self.names)} if self.names else {}
        return {"apiGroups": [self.group], "resources": list(self.resources), **limited, "verbs": list(self.verbs)}


_CHILD = ("get", "list", "watch", "create", "patch", "delete")
_GET = ("get", "what is there already, and no watch has told of, is looked at before it is called somebody else's")
_CREATE = ("create", "server-side apply of a new object is logged as patch and asks for create as well")
_DELETE = ("delete", "one with our label and owner that is not asked for is deleted; of this kind few edits leave one")

GRANTS = (
    Grant(GROUP, (PLURAL,), ("get", "list", "watch"), "what is asked for; the controller never writes a spec"),
    Grant(GROUP, (f"{PLURAL}/status",), ("patch",), "conditions, URL, replicas"),
    Grant(
        GROUP,
        (f"{PLURAL}/finalizers",),
        ("update",),
        "owner references with blockOwnerDeletion, where admission checks them",
        seldom=(("update", "it is asked for by the admission plugin OwnerReferencesPermissionEnforcement alone"),),
    ),
    Grant(
        "serving.kserve.io",
        ("inferenceservices", "servingruntimes"),
        _CHILD,
        "the service and its runtime",
        seldom=(_GET, _CREATE, _DELETE),
    ),
    Grant("", ("serviceaccounts",), _CHILD, "the pods' identity, without a token", seldom=(_GET, _CREATE, _DELETE)),
    Grant(
        "networking.k8s.io",
        ("networkpolicies",),
        _CHILD,
        "who may reach a predictor, and what it may reach",
        seldom=(_GET, _CREATE, _DELETE),
    ),
    Grant(
        "policy", ("poddisruptionbudgets",), _CHILD, "no more than one pod evicted at a time", seldom=(_GET, _CREATE)
    ),
    Grant("", ("pods",), ("list", "watch"), "why a predictor is not ready; only those with our label are asked for"),
    Grant(
        "apps",
        ("deployments",),
        ("list", "watch"),
        "whether KServe's Deployment has the latest change, only those with our label; and KServe's version, by its own label",
    ),
    Grant(
        "",
        ("nodes",),
        ("list",),
        "which extended resources, such as nvidia.com/gpu, any node offers: their names are all that is kept",
        "cluster",
    ),
    Grant("", ("events",), ("create",), "transitions of conditions, for kubectl describe"),
    Grant("coordination.k8s.io", ("leases",), ("create",), "the lease of the one controller that may write", "home"),
    Grant(
        "coordination.k8s.io",
        ("leases",),
        ("get", "update"),
        "the same lease, to renew it, to take it over and to give it back",
        "home",
        (LEASE_NAME,),
    ),
)
