"""The predictor's Prometheus metrics, made from the table in `moorage.api.metrics`. Counted in `wire/`.

The registry is an argument, so a test can build two.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from moorage.api import metrics as m

_EDGES: Final = m.REQUEST_DURATION.buckets


class ProtocolMetrics:
    """Of one model version and protocol: numbers of our own, given to Prometheus when it asks. Its own counters take a lock
    and several calls for each request. Only the event loop counts."""

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
        if not self._answers:
            return
        for code, count in list(self._answers.items()):
            requests.add_metric([*labels, str(code)], count)
        edges = [*map(floatToGoString, _EDGES), "+Inf"]
        seconds.add_metric(labels, list(zip(edges, accumulate(self._buckets), strict=True)), self._seconds)


class ModelMetrics:
    """Of one version of one model."""

    def __init__(self) -> None:
        self.v1 = ProtocolMetrics()
        self.v2 = ProtocolMetrics()
        self.grpc = ProtocolMetrics()
        self.load_seconds: float | None = None
        self.is_ready = False
        self.loads = {"loaded": 0, "failed": 0}
        self.evictions = 0

    def loaded(self, seconds: float) -> None:
        """It is in memory and warm."""
        self.load_seconds = seconds
        self.loads["loaded"] += 1

    def failed(self) -> None:
        """It could not be loaded."""
        self.loads["failed"] += 1

    def evicted(self) -> None:
        """It made room for another."""
        self.evictions += 1

    def ready(self, value: bool) -> None:
        """Readiness changed."""
        self.is_ready = value


class Metrics:
    """Bounded labels only: models and versions that are there, v1|v2|grpc, and a status code."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._models: dict[tuple[str, str], ModelMetrics] = {}
        registry.register(self)

    def of(self, name: str, version: str) -> ModelMetrics:
        """The numbers of one version, which are shown from now on."""
        return self._models.setdefault((name, version), ModelMetrics())

    def forget(self, name: str, version: str) -> None:
        """The version is gone for good."""
        self._models.pop((name, version), None)

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        requests = CounterMetricFamily(m.REQUESTS.name, m.REQUESTS.help, labels=m.REQUESTS.labels)
        seconds = HistogramMetricFamily(
            m.REQUEST_DURATION.name, m.REQUEST_DURATION.help, labels=m.REQUEST_DURATION.labels
        )
        load = GaugeMetricFamily(m.MODEL_LOAD.name, m.MODEL_LOAD.help, labels=m.MODEL_LOAD.labels)
        ready = GaugeMetricFamily(m.MODEL_READY.name, m.MODEL_READY.help, labels=m.MODEL_READY.labels)
        loads = CounterMetricFamily(m.MODEL_LOADS.name, m.MODEL_LOADS.help, labels=m.MODEL_LOADS.labels)
        evictions = CounterMetricFamily(m.MODEL_EVICTIONS.name, m.MODEL_EVICTIONS.help, labels=m.MODEL_EVICTIONS.labels)
        for labels, model in list(self._models.items()):
            for protocol in ("v1", "v2", "grpc"):
                getattr(model, protocol).add_to(requests, seconds, (*labels, protocol))
            if model.load_seconds is not None:
                load.add_metric(labels, model.load_seconds)
            ready.add_metric(labels, model.is_ready)
            for outcome, count in model.loads.items():
                loads.add_metric([*labels, outcome], count)
            evictions.add_metric(labels, model.evictions)
        yield from (requests, seconds, load, ready, loads, evictions)
