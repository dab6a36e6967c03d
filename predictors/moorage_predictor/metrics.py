"""The predictor's Prometheus metrics, made from the table in `moorage.api.metrics`. Counted in `wire/`.

The registry is an argument, so a test can build two.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from moorage.api import metrics as m


class ProtocolMetrics:
    """Of one model and protocol."""

    def __init__(self, requests: Callable[[str], Counter], seconds: Histogram) -> None:
        self._make = requests
        self._requests: dict[int | str, Counter] = {}
        self._seconds = seconds

    def answered(self, code: int | str, seconds: float) -> None:
        """One request is done; `code` is an HTTP status or a gRPC status name."""
        counter = self._requests.get(code)
        if counter is None:
            counter = self._requests[code] = self._make(str(code))
        counter.inc()
        self._seconds.observe(seconds)


class Metrics:
    """Bounded labels only: the one model, its version, v1|v2|grpc, and a status code."""

    def __init__(self, registry: CollectorRegistry, model_name: str, model_version: str) -> None:
        self.registry = registry
        self._labels = {"model": model_name, "version": model_version}
        self._requests = Counter(m.REQUESTS.name, m.REQUESTS.help, m.REQUESTS.labels, registry=registry)
        seconds = m.REQUEST_DURATION
        self._seconds = Histogram(
            seconds.name, seconds.help, seconds.labels, registry=registry, buckets=seconds.buckets
        )
        self._load = Gauge(m.MODEL_LOAD.name, m.MODEL_LOAD.help, m.MODEL_LOAD.labels, registry=registry)
        self._ready = Gauge(m.MODEL_READY.name, m.MODEL_READY.help, m.MODEL_READY.labels, registry=registry)
        self.ready(False)

    def of(self, protocol: str) -> "ProtocolMetrics":
        """The counters of v1, v2 or grpc, found once and not for each request."""
        return ProtocolMetrics(
            lambda code: self._requests.labels(**self._labels, protocol=protocol, code=code),
            self._seconds.labels(**self._labels, protocol=protocol),
        )

    def loaded(self, seconds: float) -> None:
        """The model is in memory and warm."""
        self._load.labels(**self._labels).set(seconds)

    def ready(self, value: bool) -> None:
        """Readiness changed."""
        self._ready.labels(**self._labels).set(value)
