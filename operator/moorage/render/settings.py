"""What the operator's administrator decides for all deployments, and what the cluster can do. Inputs of `render()`."""

from dataclasses import dataclass, field, replace

from moorage import __version__

DEFAULT_IMAGE = f"moorage/predictor:{__version__}"
TORCHSERVE_IMAGE = f"moorage/predictor-torchserve:{__version__}"
"""The same with Java and TorchServe, for predictor.runtime torchserve."""
CLIENT_NAMESPACE_LABEL = "moorage.dev/model-clients"
"""Namespaces with this label (value `true`) may call the predictors directly: ingress controllers, applications, tests."""

RATE_LIMIT_STORE_LABEL = "moorage.dev/rate-limit-store"
"""Pods with this label (value `true`), in any namespace, are a Redis that predictors may reach."""

TRACE_COLLECTOR_LABEL = "moorage.dev/trace-collector"
"""Pods with this label (value `true`), in any namespace, are a collector that predictors may send traces to."""


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
    torchserve_image: str = TORCHSERVE_IMAGE
    network: NetworkSettings = field(default_factory=NetworkSettings)


PLAIN_MODES = ("Standard", "RawDeployment")
"""One thing under two names: KServe renamed it in 0.16."""


@dataclass(frozen=True)
class Capabilities:
    """What the cluster at hand can do."""

    deployment_mode: str = "Standard"
    """The word for plain Deployments that the installed KServe knows: `Standard` since 0.16, `RawDeployment` before."""
    kserve_version: str | None = None
    """For instance `0.20`; None if it could not be learned, and then 0.16 or newer is assumed."""
    features: frozenset[str] | None = None
    """Names of what is there, of those in `moorage.api.features`; None while that is not known."""
    extended_resources: frozenset[str] | None = None
    """What nodes offer beside CPU, memory and disk, for instance `nvidia.com/gpu`; None if that could not be learned."""

    def keeping(self, word: str | None) -> "Capabilities":
        """With the mode's word of a live InferenceService's status, if that is one of the two: KServe refuses the other."""
        return replace(self, deployment_mode=word) if word in PLAIN_MODES else self
