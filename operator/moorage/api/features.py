"""What a cluster may have beside Kubernetes itself: how it is recognised, and what to install where it is missing.

`controller/capabilities.py` looks for these in the API server's discovery, and for GPUs in what nodes offer; `render/needs.py`
knows which of them a deployment asks for; what is asked for and missing becomes the condition `<Feature>Unavailable`.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Feature:
    """One thing that a cluster has or has not, by the resource that it serves."""

    name: str
    group: str
    resource: str
    install: str
    """What to do where it is missing."""

    @property
    def condition(self) -> str:
        """The type of the condition that is True while it is asked for and missing."""
        return f"{self.name}Unavailable"


KSERVE: Final = Feature(
    "KServe", "serving.kserve.io", "inferenceservices", "install KServe 0.16 or newer in its Standard mode"
)
KNATIVE: Final = Feature("Knative", "serving.knative.dev", "services", "install Knative Serving")
KEDA: Final = Feature("KEDA", "keda.sh", "scaledobjects", "install KEDA")
PROMETHEUS_OPERATOR: Final = Feature(
    "PrometheusOperator", "monitoring.coreos.com", "servicemonitors", "install the Prometheus operator"
)
GATEWAY_API: Final = Feature(
    "GatewayAPI",
    "gateway.networking.k8s.io",
    "httproutes",
    "install the CRDs of the Gateway API and a controller for it",
)
ENVOY_GATEWAY: Final = Feature(
    "EnvoyGateway", "gateway.envoyproxy.io", "backendtrafficpolicies", "install Envoy Gateway"
)
CERT_MANAGER: Final = Feature("CertManager", "cert-manager.io", "certificates", "install cert-manager")
RESOURCE_METRICS: Final = Feature("ResourceMetrics", "metrics.k8s.io", "pods", "install metrics-server")
RESOURCE_ALLOCATION: Final = Feature(
    "ResourceAllocation",
    "resource.k8s.io",
    "resourceclaimtemplates",
    "use Kubernetes 1.34 or newer, and install a driver for dynamic resource allocation",
)

FEATURES: Final = (
    KSERVE,
    KNATIVE,
    KEDA,
    PROMETHEUS_OPERATOR,
    GATEWAY_API,
    ENVOY_GATEWAY,
    CERT_MANAGER,
    RESOURCE_METRICS,
    RESOURCE_ALLOCATION,
)
"""Those that discovery tells of."""

GPU: Final = Feature(
    "GPU",
    "",
    "nodes",
    "add a node that has it, which an autoscaler of nodes does by itself, and install its vendor's device plugin",
)
"""Nodes are always served; what counts is whether one offers the extended resource that is asked for."""
NVIDIA: Final = "nvidia.com/gpu"
"""The extended resource that is meant where none is named."""

CONDITIONS: Final = tuple(feature.condition for feature in (*FEATURES, GPU))
"""All types of `<Feature>Unavailable`."""
