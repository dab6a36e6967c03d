"""What the operator's administrator decides for all deployments, and what the cluster can do. Inputs of `render()`."""

from dataclasses import dataclass, field

from moorage import __version__

DEFAULT_IMAGE = f"moorage/predictor:{__version__}"
CLIENT_NAMESPACE_LABEL = "moorage.dev/model-clients"
"""Namespaces with this label (value `true`) may call the predictors directly: ingress controllers, applications, tests."""

RATE_LIMIT_STORE_LABEL = "moorage.dev/rate-limit-store"
"""Pods with this label (value `true`), in any namespace, are a Redis that predictors may reach."""


@dataclass(frozen=True)
class NetworkSettings:
    """Who may reach the predictors, and what they may reach.

    The kubelet needs no rule: Kubernetes lets traffic from a pod's own node pass. For network plugins that do not,
    `node_cidrs` names the nodes.
    """

    enabled: bool = True
    gateway_namespace: str = "moorage-system"
    prometheus_namespace: str = "monitoring"
    node_cidrs: tuple[str, ...] = ()
    storage_cidrs: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    blocked_cidrs: tuple[str, ...] = ("169.254.0.0/16", "fd00:ec2::254/128")
    storage_ports: tuple[int, ...] = (443,)
    """An issuer of tokens may have these ports as well, and 443 in any case."""
    redis_cidrs: tuple[str, ...] = ()
    """Of a Redis outside of the cluster, or one whose pods have no label."""
    redis_ports: tuple[int, ...] = (6379, 6380)


@dataclass(frozen=True)
class RenderSettings:
    """The administrator's choices."""

    predictor_image: str = DEFAULT_IMAGE
    network: NetworkSettings = field(default_factory=NetworkSettings)


@dataclass(frozen=True)
class Capabilities:
    """What the cluster at hand can do."""

    deployment_mode: str = "Standard"
    """The word for plain Deployments that the installed KServe knows: `Standard` since 0.16, `RawDeployment` before."""
