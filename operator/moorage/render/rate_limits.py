"""`spec.rateLimits` and `spec.rateLimiting` -> settings of the predictor, and what its pods need for them: two Secrets, which
the kubelet mounts and the operator never reads, and a way to Redis.
"""

from moorage.api.rate_limits import RateRule
from moorage.api.v1alpha1 import ModelDeployment
from moorage.render.mounted import Mounted
from moorage.render.names import Manifest
from moorage.render.settings import RATE_LIMIT_STORE_LABEL, NetworkSettings


def rate_limits(deployment: ModelDeployment) -> dict[str, object]:
    """Settings that hold in a pod and on a laptop."""
    spec = deployment.spec
    if spec.rate_limits is None:
        return {}
    rules = [
        RateRule(rule.requests, rule.per, rule.by or "caller", rule.operation, rule.model) for rule in spec.rate_limits
    ]
    return {"rate_limit": tuple(map(str, rules))}


def rate_limiting(deployment: ModelDeployment) -> dict[str, object]:
    """Settings of a pod alone."""
    how = deployment.spec.rate_limiting
    if how is None:
        return {}
    redis, proof = _redis(deployment), _proof(deployment)
    found: dict[str, object] = {"trusted_proxies": tuple(how.trusted_proxies or ())}
    if redis is not None:
        found |= {
            "rate_limit_redis_url_file": redis.file("url"),
            "rate_limit_on_store_failure": how.on_store_failure,
            "rate_limit_scope": f"{deployment.metadata.namespace}/{deployment.metadata.name}",
        }
        if how.on_store_failure == "local":  # else a change of maxReplicas would replace pods for nothing
            found["rate_limit_replicas"] = deployment.spec.scaling.bounds()[1]
    if proof is not None:
        found["counted_proof_secret_file"] = proof.file("secret")
    return found


def egress(deployment: ModelDeployment, settings: NetworkSettings) -> list[Manifest]:
    """To Redis: in this cluster the pods that carry our label, elsewhere the addresses that the administrator names."""
    if _redis(deployment) is None:
        return []
    labelled = {"namespaceSelector": {}, "podSelector": {"matchLabels": {RATE_LIMIT_STORE_LABEL: "true"}}}
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in settings.redis_cidrs]
    ports = [{"protocol": "TCP", "port": port} for port in settings.redis_ports]
    return [{"to": [labelled, *blocks], "ports": ports}]


def secrets(deployment: ModelDeployment) -> list[Mounted]:
    """The URL of Redis, and what the gateway signs with."""
    return [each for each in (_redis(deployment), _proof(deployment)) if each is not None]


def _redis(deployment: ModelDeployment) -> Mounted | None:
    how = deployment.spec.rate_limiting
    name = how and how.redis_url_secret
    return Mounted("rate-limit-store", name, ("url",)) if name else None


def _proof(deployment: ModelDeployment) -> Mounted | None:
    how = deployment.spec.rate_limiting
    name = how and how.counted_proof_secret
    return Mounted("counted-proof", name, ("secret",)) if name else None
