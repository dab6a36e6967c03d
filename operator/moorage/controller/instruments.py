"""The controller's Prometheus metrics, made from the table in `moorage.api.metrics` in a registry of the caller's."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from moorage.api import metrics as m


class Instruments:
    """One object with a method for each thing that is counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._reconciles = Counter(m.RECONCILES.name, m.RECONCILES.help, m.RECONCILES.labels, registry=registry)
        self._duration = Histogram(
            m.RECONCILE_DURATION.name,
            m.RECONCILE_DURATION.help,
            buckets=m.RECONCILE_DURATION.buckets,
            registry=registry,
        )
        self._requests = Counter(m.API_REQUESTS.name, m.API_REQUESTS.help, m.API_REQUESTS.labels, registry=registry)
        self._deployments = Gauge(
            m.MODEL_DEPLOYMENTS.name, m.MODEL_DEPLOYMENTS.help, m.MODEL_DEPLOYMENTS.labels, registry=registry
        )

    def reconciled(self, outcome: str, seconds: float) -> None:
        """One reconciliation ended."""
        self._reconciles.labels(outcome).inc()
        self._duration.observe(seconds)

    def api_request(self, verb: str, code: int) -> None:
        """One request to the API server was answered, or not (code 0)."""
        self._requests.labels(verb, str(code)).inc()

    def deployments(self, by_ready: dict[str, int]) -> None:
        """How many ModelDeployments there are, by the status of Ready."""
        for status in ("True", "False", "Unknown"):
            self._deployments.labels(status).set(by_ready.get(status, 0))
