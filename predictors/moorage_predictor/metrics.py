"""The predictor's Prometheus metrics, made from the table in `moorage.api.metrics`. Counted in `wire/`.

The registry is an argument, so a test can build two.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from moorage.api import metrics as m

_EDGES: Final = m.REQUEST_DURATION.buckets


class ProtocolMetrics:
    """Of one model and protocol: numbers of our own, given to Prometheus when it asks. Its own counters take a lock and
    several calls for each request. Only the event loop counts."""

    def __init__(self) -> None:
        self._answers: dict[int | str, int] = {}
        self._buckets = [0] * (len(_EDGES) + 1)
        self._seconds = 0.0

    def answered(self, code: int | str, seconds: float) -> None:
        """One request is done; `code` is an HTTP status or a gRPC status name."""
        self._answers[code] = self._answers.get(code, 0) + 1
        self._buckets[bisect_left(_EDGES, seconds)] += 1
        self._seconds += seconds

    def add_to(self, requests: CounterMetricFamily, seconds: HistogramMetricFamily, labels: tuple[str, ...]) -> None:
        """The samples, with these values of the labels (model, version, protocol)."""
        for code, count in list(self._answers.items()):
            requests.add_metric([*labels, str(code)], count)
        edges = [*map(floatToGoString, _EDGES), "+Inf"]
        seconds.add_metric(labels, list(zip(edges, accumulate(self._buckets), strict=True)), self._seconds)


class Metrics:
    """Bounded labels only: the one model, its version, v1|v2|grpc, and a status code."""

    def __init__(self, registry: CollectorRegistry, model_name: str, model_version: str) -> None:
        self.registry = registry
        self._labels = {"model": model_name, "version": model_version}
        self._protocols: dict[str, ProtocolMetrics] = {}
        registry.register(self)
        self._load = Gauge(m.MODEL_LOAD.name, m.MODEL_LOAD.help, m.MODEL_LOAD.labels, registry=registry)
        self._ready = Gauge(m.MODEL_READY.name, m.MODEL_READY.help, m.MODEL_READY.labels, registry=registry)
        self.ready(False)

    def of(self, protocol: str) -> ProtocolMetrics:
        """The counters of v1, v2 or grpc."""
        return self._protocols.setdefault(protocol, ProtocolMetrics())

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """For the registry."""
        requests = CounterMetricFamily(m.REQUESTS.name, m.REQUESTS.help, labels=m.REQUESTS.labels)
        seconds = HistogramMetricFamily(
            m.REQUEST_DURATION.name, m.REQUEST_DURATION.help, labels=m.REQUEST_DURATION.labels
        )
        for protocol, counted in self._protocols.items():
            counted.add_to(requests, seconds, (*self._labels.values(), protocol))
        yield requests
        yield seconds

    def loaded(self, seconds: float) -> None:
        """The model is in memory and warm."""
        self._load.labels(**self._labels).set(seconds)

    def ready(self, value: bool) -> None:
        """Readiness changed."""
        self._ready.labels(**self._labels).set(value)
