"""What stands around the predictor: its ServiceAccount, its NetworkPolicy, its PodDisruptionBudget."""

from urllib.parse import urlsplit

from moorage.api.predictor import GRPC_PORT, HTTP_PORT, METRICS_PORT
from moorage.api.v1alpha1 import ModelDeployment
from moorage.render import rate_limits, transport
from moorage.render.names import Manifest, child_name, metadata, pod_labels
from moorage.render.settings import CLIENT_NAMESPACE_LABEL, NetworkSettings
from moorage.render.storage import source
from moorage.render.transport import probed_port


def service_account(deployment: ModelDeployment) -> Manifest:
    """The pods' identity: no token is mounted; KServe finds the store's credentials through `secrets`."""
    secret = deployment.spec.model.storage_secret
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(deployment, child_name(deployment)),
        "automountServiceAccountToken": False,
        **({"secrets": [{"name": secret}]} if secret else {}),
    }


def pod_disruption_budget(deployment: ModelDeployment) -> Manifest | None:
    """At most one pod at a time is evicted. None for a single replica: a budget would only block the node's maintenance."""
    if deployment.spec.scaling.bounds()[0] < 2:
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(deployment, child_name(deployment)),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": pod_labels(deployment.metadata.name)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def network_policy(deployment: ModelDeployment, settings: NetworkSettings) -> Manifest:
    """Everything else is denied, both ways."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(deployment, child_name(deployment)),
        "spec": {
            "podSelector": {"matchLabels": pod_labels(deployment.metadata.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": _ingress(settings, probed_port(deployment)),
            "egress": [
                _dns(),
                *_stores(deployment, settings),
                *_issuer(deployment, settings),
                *rate_limits.egress(deployment, settings),
                *transport.egress(deployment, _outside(settings), (443, *settings.storage_ports)),
            ],
        },
    }


def _ingress(settings: NetworkSettings, probed: int) -> list[Manifest]:
    http, grpc = _tcp(HTTP_PORT), _tcp(GRPC_PORT)
    rules: list[Manifest] = [
        {
            "from": [
                {
                    "namespaceSelector": _namespace(settings.gateway_namespace),
                    "podSelector": {"matchLabels": {"app.kubernetes.io/component": "gateway"}},
                },
                {"namespaceSelector": {"matchLabels": {CLIENT_NAMESPACE_LABEL: "true"}}},
            ],
            "ports": [http, grpc],
        },
        {"from": [{"namespaceSelector": _namespace(settings.prometheus_namespace)}], "ports": [_tcp(METRICS_PORT)]},
    ]
    if settings.node_cidrs:
        rules.append({"from": [{"ipBlock": {"cidr": cidr}} for cidr in settings.node_cidrs], "ports": [_tcp(probed)]})
    return rules


def _dns() -> Manifest:
    return {
        "to": [
            {"namespaceSelector": _namespace("kube-system")},
            {"ipBlock": {"cidr": "169.254.20.10/32"}},
        ],  # the node-local cache
        "ports": [{"protocol": "UDP", "port": 53}, _tcp(53)],
    }


def _stores(deployment: ModelDeployment, settings: NetworkSettings) -> list[Manifest]:
    uri = deployment.spec.model.storage_uri
    if uri is None or not source(uri).needs_egress:
        return []
    blocks = _outside(settings)
    if not blocks:
        return []  # an empty `to` would mean everywhere
    return [{"to": blocks, "ports": [_tcp(port) for port in settings.storage_ports]}]


def _issuer(deployment: ModelDeployment, settings: NetworkSettings) -> list[Manifest]:
    """Where the keys of JSON Web Tokens are fetched. A deployment opens no port that its administrator has not: a way out to
    any port of any address is what the policy is there to prevent."""
    jwt = deployment.spec.access and deployment.spec.access.jwt
    blocks = _outside(settings)
    if not jwt or not blocks:
        return []
    port = _port(jwt.jwks_uri)
    return [{"to": blocks, "ports": [_tcp(port)]}] if port in (443, *settings.storage_ports) else []


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or 443
    except ValueError:  # the predictor refuses it, and says so
        return 443


def _outside(settings: NetworkSettings) -> list[Manifest]:
    blocks: list[Manifest] = []
    for cidr in settings.storage_cidrs:
        excepted = [
            block for block in settings.blocked_cidrs if (":" in block) == (":" in cidr) and cidr.endswith("/0")
        ]
        blocks.append({"ipBlock": {"cidr": cidr, **({"except": excepted} if excepted else {})}})
    return blocks


def _namespace(name: str) -> Manifest:
    return {"matchLabels": {"kubernetes.io/metadata.name": name}}


def _tcp(port: int) -> Manifest:
    return {"protocol": "TCP", "port": port}
