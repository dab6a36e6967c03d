"""Numbers -> Prometheus' families, as the table in `moorage.api.metrics` has them. Called by `metrics.Metrics`."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from moorage.api import metrics as m
from moorage_predictor.telemetry.store import Numbers

_OURS: Final = tuple(metric for metric in m.METRICS if metric.component == "predictor")


def families(numbers: Numbers) -> Iterator[Metric]:
    """Every family, also one that has no series yet: what is documented can be found."""
    by_name: dict[str, list[tuple[tuple[str, ...], list[float]]]] = {}
    for (name, labels), values in sorted(numbers.items()):
        by_name.setdefault(name, []).append((labels, values))
    for metric in _OURS:
        yield _family(metric, by_name.get(metric.name, []))


def _family(metric: m.Metric, series: list[tuple[tuple[str, ...], list[float]]]) -> Metric:
    if metric.kind == "histogram":
        return _histogram(metric, series)
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(metric.name, metric.help, labels=metric.labels)
    for labels, [value] in series:
        family.add_metric(labels, value)
    return family


def _histogram(metric: m.Metric, series: list[tuple[tuple[str, ...], list[float]]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    edges = [*map(floatToGoString, metric.buckets), "+Inf"]
    for labels, [*counts, total] in series:
        if any(counts):
            family.add_metric(labels, list(zip(edges, accumulate(counts), strict=True)), total)
    return family
