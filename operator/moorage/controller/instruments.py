"""The controller's Prometheus metrics, made from the table in `moorage.api.metrics` in a registry of the caller's."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from moorage.api import metrics as m


class Instruments:
    """One object with a method for each thing that is counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._reconciles, self._duration = self._counter(m.RECONCILES), self._histogram(m.RECONCILE_DURATION)
        self._wait = self._histogram(m.QUEUE_WAIT)
        self._depth, self._oldest = self._gauge(m.QUEUE_DEPTH), self._gauge(m.QUEUE_OLDEST)
        self._requests = self._counter(m.API_REQUESTS)
        self._deployments, self._objects = self._gauge(m.MODEL_DEPLOYMENTS), self._gauge(m.KNOWN_OBJECTS)
        self._silence, self._lists = self._gauge(m.WATCH_SILENCE), self._counter(m.WATCH_LISTS)
        self._missed = self._counter(m.WATCH_MISSED)
        self._leads, self._left_alone = self._gauge(m.LEADS), self._gauge(m.LEFT_ALONE)

    def reconciled(self, outcome: str, seconds: float) -> None:
        """One reconciliation ended."""
        self._reconciles.labels(outcome).inc()
        self._duration.observe(seconds)

    def queued(self, seconds: float) -> None:
        """A worker took a ModelDeployment that had been due for so long."""
        self._wait.observe(seconds)

    def queue(self, depth: int, oldest_s: float) -> None:
        """How many ModelDeployments are due or in work, and for how long the first of them has waited."""
        self._depth.set(depth)
        self._oldest.set(oldest_s)

    def api_request(self, verb: str, code: int) -> None:
        """One request to the API server was answered, or not (code 0)."""
        self._requests.labels(verb, str(code)).inc()

    def deployments(self, by_ready: dict[str, int]) -> None:
        """How many ModelDeployments there are, by the status of Ready."""
        for status in ("True", "False", "Unknown"):
            self._deployments.labels(status).set(by_ready.get(status, 0))

    def objects(self, by_kind: dict[str, int]) -> None:
        """How many objects are known, by kind."""
        for kind, count in by_kind.items():
            self._objects.labels(kind).set(count)

    def silence(self, by_resource: dict[str, float]) -> None:
        """For how long each watch has heard nothing."""
        for resource, seconds in by_resource.items():
            self._silence.labels(resource).set(seconds)

    def listed(self, resource: str) -> None:
        """A watch began, or began anew, with a list."""
        self._lists.labels(resource).inc()

    def missed(self, changes: int) -> None:
        """Changes that kopf had not told of were found by a recount."""
        self._missed.inc(changes)

    def leads(self, leading: bool) -> None:
        """This controller began or ceased to lead."""
        self._leads.set(leading)

    def left_alone(self, namespaces: int) -> None:
        """How many namespaces another installation looks after."""
        self._left_alone.set(namespaces)

    def _counter(self, metric: m.Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _gauge(self, metric: m.Metric) -> Gauge:
        return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, metric: m.Metric) -> Histogram:
        return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self.registry)
