"""The predictor's Prometheus metrics. The registry is an argument, so a test can build two. Counted in `wire/`."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

VERSION: Final = "1"
"""The model version until versions exist."""

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Bounded labels only: the one model, its version, v1|v2|grpc, and a status code."""

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        self.registry = registry
        self._labels = {"model": model_name, "version": VERSION}
        model = ("model", "version")
        request = (*model, "protocol")
        self._requests = Counter(
            "moorage_requests_total", "Prediction requests answered.", (*request, "code"), registry=registry
        )
        self._seconds = Histogram(
            "moorage_request_duration_seconds",
            "From the first byte read to the answer built.",
            request,
            registry=registry,
            buckets=_BUCKETS,
        )
        self._load = Gauge(
            "moorage_model_load_seconds", "Fetching, reading and warming up the model.", model, registry=registry
        )
        self._ready = Gauge("moorage_model_ready", "1 while predictions are answered.", model, registry=registry)
        self.ready(False)

    def answered(self, protocol: str, code: str, seconds: float) -> None:
        """One request is done; `code` is an HTTP status or a gRPC status name."""
        self._requests.labels(**self._labels, protocol=protocol, code=code).inc()
        self._seconds.labels(**self._labels, protocol=protocol).observe(seconds)

    def loaded(self, seconds: float) -> None:
        """The model is in memory and warm."""
        self._load.labels(**self._labels).set(seconds)

    def ready(self, value: bool) -> None:
        """Readiness changed."""
        self._ready.labels(**self._labels).set(value)
