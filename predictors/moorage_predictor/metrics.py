"""What the predictor counts, under the names of `moorage.api.metrics`. Counted in `wire/` and by the access layer.

The hot path adds to numbers of our own, which become Prometheus' families when it asks: its own counters take a lock and
several calls for each request. Only the event loop counts. The registry is an argument, so a test can build two.
"""

import asyncio
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import Metric

from moorage.api import metrics as m
from moorage_predictor.telemetry.exposition import families
from moorage_predictor.telemetry.process import gpu_bytes, numbers_of
from moorage_predictor.telemetry.store import UNSET, Store, merged

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
MULTIPROCESS_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"
"""In the environment of each of several workers: `prometheus_client` counts there what models count with it."""
_EDGES: Final = m.REQUEST_DURATION.buckets
_STAGE_EDGES: Final = m.STAGE_DURATION.buckets
_ROW_EDGES: Final = m.BATCH_ROWS.buckets
MOST_MODELS: Final = 200
"""Versions of models with numbers of their own, unless somebody says otherwise."""
_MOST_REASONS: Final = 32
"""Of denials; they are a few words of ours."""


class ProtocolMetrics:
    """Of one model version and protocol."""

    __slots__ = ("_codes", "_labels", "_seconds", "_store", "_values")

    def __init__(self, store: Store, labels: tuple[str, ...]) -> None:
        """`labels` are the values of model, version and protocol."""
        self._store = store
        self._values = store.values
        self._labels = labels
        self._codes: dict[int | str, int] = {}
        self._seconds = -1

    def answered(self, code: int | str, seconds: float) -> None:
        """One request is done; `code` is an HTTP status or a gRPC status name."""
        values = self._values
        at = self._codes.get(code)
        if at is None:
            at = self._codes[code] = self._store.place(m.REQUESTS, (*self._labels, str(code)))
            self._seconds = self._store.place(m.REQUEST_DURATION, self._labels, len(_EDGES) + 2)
        values[at] += 1
        at = self._seconds
        values[at + bisect_left(_EDGES, seconds)] += 1
        values[at + len(_EDGES) + 1] += seconds


class ModelMetrics:
    """Of one version of one model."""

    def __init__(self, store: Store | None = None, name: str = "", version: str = "") -> None:
        self._store = store = store or Store()
        self._labels = labels = (name, version)
        self._values = store.values
        self.v1 = ProtocolMetrics(store, (*labels, "v1"))
        self.v2 = ProtocolMetrics(store, (*labels, "v2"))
        self.grpc = ProtocolMetrics(store, (*labels, "grpc"))
        self._depth: Callable[[], tuple[int, int]] | None = None
        self._stages: tuple[int, ...] = ()
        self._rows = -1
        self._info = -1

    def spent(self, started: int, entered: int, taken: int, inferred: int, encoded: int) -> None:
        """Where the time of one answered request went: five moments in ns, between which it was decoded, queued, in the
        model and encoded."""
        if not self._stages:
            self._stages = tuple(
                self._store.place(m.STAGE_DURATION, (*self._labels, stage), len(_STAGE_EDGES) + 2) for stage in m.STAGES
            )
        values, total = self._values, len(_STAGE_EDGES) + 1
        decode, queue, forward, encode = self._stages
        seconds = (entered - started) / 1e9
        values[decode + bisect_left(_STAGE_EDGES, seconds)] += 1
        values[decode + total] += seconds
        seconds = (taken - entered) / 1e9
        values[queue + bisect_left(_STAGE_EDGES, seconds)] += 1
        values[queue + total] += seconds
        seconds = (inferred - taken) / 1e9
        values[forward + bisect_left(_STAGE_EDGES, seconds)] += 1
        values[forward + total] += seconds
        seconds = (encoded - inferred) / 1e9
        values[encode + bisect_left(_STAGE_EDGES, seconds)] += 1
        values[encode + total] += seconds

    def batch(self, rows: int) -> None:
        """One forward pass with so many rows is done."""
        if self._rows < 0:
            self._rows = self._store.place(m.BATCH_ROWS, self._labels, len(_ROW_EDGES) + 2)
        self._values[self._rows + bisect_left(_ROW_EDGES, rows)] += 1
        self._values[self._rows + len(_ROW_EDGES) + 1] += rows

    def loaded(self, seconds: float) -> None:
        """It is in memory and warm."""
        self._set(m.MODEL_LOAD, seconds)
        self._values[self._store.place(m.MODEL_LOADS, (*self._labels, "loaded"))] += 1

    def failed(self) -> None:
        """It could not be loaded."""
        self._values[self._store.place(m.MODEL_LOADS, (*self._labels, "failed"))] += 1

    def evicted(self) -> None:
        """It made room for another."""
        self._values[self._store.place(m.MODEL_EVICTIONS, self._labels)] += 1

    def number(self, metric: m.Metric, *more: str) -> float:
        """What one of its counters or gauges says; `more` are the values of the labels after model and version."""
        return float(self._values[self._store.place(metric, (*self._labels, *more))])

    def ready(self, value: bool) -> None:
        """Readiness changed."""
        self._set(m.MODEL_READY, value)

    def runs_on(self, engine: str, precision: str) -> None:
        """What runs it, from now on."""
        if self._labels[0] == m.OTHER:
            return
        if self._info >= 0:
            self._values[self._info] = UNSET
        self._info = self._store.place(m.MODEL_INFO, (*self._labels, engine, precision))
        self._values[self._info] = 1

    def watch(self, depth: Callable[[], tuple[int, int]], most_pending: int) -> None:
        """The version is there: from now on show its state, and how many rows wait and how many requests are in work and
        waiting, which `depth` tells."""
        self._depth = depth
        self.ready(False)
        for outcome in ("loaded", "failed"):  # a rate needs the zero before the first
            self._store.place(m.MODEL_LOADS, (*self._labels, outcome))
        self._store.place(m.MODEL_EVICTIONS, self._labels)
        self._set(m.PENDING_LIMIT, most_pending)

    def refresh(self) -> None:
        """Bring the gauges up to date that change with every request."""
        if self._depth is not None:
            rows, pending = self._depth()
            self._set(m.QUEUE_ROWS, rows)
            self._set(m.PENDING, pending)

    def _set(self, metric: m.Metric, value: float) -> None:
        if self._labels[0] != m.OTHER:  # what is counted together has no one state
            self._values[self._store.place(metric, self._labels)] = value


class Metrics:
    """Bounded labels only: models and versions that are there, up to a number of them, and words of ours."""

    def __init__(
        self, registry: CollectorRegistry, store: Store | None = None, worker: int = 0, most_models: int = MOST_MODELS
    ) -> None:
        self.registry = registry
        self._store = store or Store()
        self._worker = str(worker)
        self._most_models = most_models
        self._models: dict[tuple[str, str], ModelMetrics] = {}
        self.unknown = ModelMetrics(self._store, m.UNKNOWN, m.UNKNOWN)
        """Of requests that name what is not there. However many models there are, it is told from them."""
        self._decisions: dict[tuple[str, str, bool], int] = {}
        self._reasons: set[str] = set()
        self._add(m.WORKER_STARTS, (self._worker,))
        self._add(m.LOG_DROPPED, (), 0)
        registry.register(self)

    def of(self, name: str, version: str) -> ModelMetrics:
        """The numbers of one version, which are shown from now on; beyond the most, those of all others together."""
        key = name, version
        if key not in self._models and len(self._models) >= self._most_models:
            key = m.OTHER, m.OTHER
        found = self._models.get(key)
        if found is None:
            found = self._models[key] = ModelMetrics(self._store, *key)
        return found

    def forget(self, name: str, version: str) -> None:
        """The version is gone for good."""
        if self._models.pop((name, version), None):
            self._store.forget((name, version))

    def rate_limited(self, operation: str, caller: str, allowed: bool) -> None:
        """A rate limit was asked: `operation` is predict, batch or manage, `caller` key, jwt or anonymous."""
        at = self._decisions.get((operation, caller, allowed))
        if at is None:
            for decision, outcome in ((True, "allowed"), (False, "limited")):  # both, for a share of the two
                place = self._store.place(m.RATE_LIMITS, (operation, caller, outcome))
                self._decisions[operation, caller, decision] = place
            at = self._decisions[operation, caller, allowed]
        self._store.values[at] += 1

    def denied(self, reason: str) -> None:
        """A request was turned away before any route; `reason` is one of a few words."""
        if reason not in self._reasons:
            if len(self._reasons) >= _MOST_REASONS:
                reason = m.OTHER
            self._reasons.add(reason)
        self._add(m.ACCESS_DENIED, (reason,))

    def log_dropped(self, lines: int) -> None:
        """So many lines of the request log were lost."""
        self._add(m.LOG_DROPPED, (), lines)

    def started(self, seconds: float) -> None:
        """The process is ready, so long after it began."""
        self._store.values[self._store.place(m.COLD_START, (self._worker,))] = seconds

    def _add(self, metric: m.Metric, labels: tuple[str, ...], amount: float = 1) -> None:
        self._store.values[self._store.place(metric, labels)] += amount

    def refresh(self) -> None:
        """Bring the gauges up to date. Before each scrape, and with several workers once a second."""
        for model in list(self._models.values()):
            model.refresh()
        for device, size in gpu_bytes().items():
            self._store.values[self._store.place(m.GPU_MEMORY, (self._worker, device))] = size

    async def text(self) -> bytes:
        """For a scrape: ours first, then what models and libraries have counted themselves. Made in a thread."""
        self.refresh()
        return await asyncio.to_thread(lambda: generate_latest(self.registry) + generate_latest(_others()))

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        numbers = merged(self._store.all_numbers())
        numbers.update(numbers_of(self._store.processes()))
        return families(numbers)


def _others() -> CollectorRegistry:
    """The default registry; of several workers, what all have counted in the library's own multiprocess mode."""
    if not os.environ.get(MULTIPROCESS_DIR):
        return REGISTRY
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
