"""One version of one model, loaded or not, and what may be asked of it. Held by `repository.py`.

    LOADING ── serve(model) ──> READY ── unload(), evict() ──> UNLOADING ──> UNAVAILABLE
       └───────── a load that fails ─────────────────────────────────────────────┘

One of a model repository is an `on_demand.OnDemand`, which requests load.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Literal

from moorage_predictor import memory
from moorage_predictor.batching import BatchLimits
from moorage_predictor.contained import contained_coroutine
from moorage_predictor.errors import (
    InvalidInput,
    LoadFailed,
    ModelLoadFailed,
    ModelUnavailable,
    NotFound,
    Overloaded,
    RequestError,
)
from moorage_predictor.metrics import ModelMetrics
from moorage_predictor.telemetry.record import CURRENT
from moorage_predictor.wire.control import TraceSettings
from moorage_predictor.wire.described import Described
from moorage_predictor.wire.lane import apart
from moorage_predictor.wire.pipeline import Pipeline
from moorage_predictor.wire.statistics import Statistics

_log = logging.getLogger(__name__)

_HEALTH_S: Final = 1.0
UNLOADED: Final = "unloaded"
_SEE_LOG: Final = "the server's log has the reason"

State = Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]
"""Words of the model repository extension."""


class Served(Described):
    """Known before it is loaded, so that clients get 503 and not 404 meanwhile."""

    version_policy: Mapping[str, Any] = {"latest": {"num_versions": 1}}
    """Which of its model's versions there are, in Triton's words."""

    def __init__(
        self,
        name: str,
        version: str,
        *,
        max_pending: int,
        platform: str,
        batching: BatchLimits | None = None,
        load: Callable[[], Any] | None = None,
        changed: Callable[["Served"], None] = lambda served: None,
        metrics: ModelMetrics | None = None,
    ) -> None:
        """`load` gives the model anew; `changed` is told when it begins or ceases to answer, or did not load; `batching` is
        for models that do not batch themselves."""
        super().__init__()
        self.name = name
        self.version = version
        self.platform = platform
        self.state: State = "LOADING"
        self.reason = ""
        self.failure: ModelLoadFailed | None = None
        """Why it could not be loaded, when it was last tried. What was loaded before still answers."""
        self.proven = False
        """Whether it has ever been loaded."""
        self.described = Described()
        """Of the model that answers now; a request keeps it as it keeps the pipeline."""
        self.pipeline: Pipeline | None = None
        self._retiring: set[Pipeline] = set()
        self.statistics = Statistics()
        self.metrics = metrics or ModelMetrics()
        self.metrics.watch(lambda: (self.waiting, self.pending), max_pending)
        self.trace = TraceSettings()
        self.draining = False
        self.starting = False
        """Whether the process itself is loading it for the first time."""
        self.progress = ""
        """How far that is."""
        self.held_back: str | None = None
        """Why it is not ready although it answers: something is wrong with the process as a whole."""
        self.used = 0.0
        """When it was last asked for, by `time.monotonic()`."""
        self.holders = 0
        """Requests that are on the way to the pipeline, and not in it yet."""
        self.max_pending = max_pending
        self._batching = batching
        self._tuning: asyncio.Task[None] | None = None
        self._load = load
        self._changed = changed
        self._changing = asyncio.Lock()

    @property
    def newest(self) -> "Served":
        """Itself: a path that names the version leads here. See `versions.Versions`."""
        return self

    @property
    def ready(self) -> bool:
        """Whether it answers predictions and goes on doing so."""
        return self.pipeline is not None and not self.draining and bool(self.model.ready)

    @property
    def idle(self) -> bool:
        """Whether nobody waits for it, and it does nothing for those who have gone."""
        return not self.holders and not self.pending and not (self.pipeline and self.pipeline.busy)

    @property
    def wanted(self) -> bool:
        """False once somebody has unloaded it."""
        return self.state == "READY" or self.reason != UNLOADED

    async def is_ready(self) -> bool:
        """`ready`, and what the model itself says of its health, if it has something to say."""
        pipeline = self.pipeline
        if not self.ready or self.held_back or pipeline is None or pipeline.health is None:
            return self.ready and not self.held_back
        try:
            return bool(await asyncio.wait_for(contained_coroutine(pipeline.health()), _HEALTH_S))
        except Exception as error:  # noqa: BLE001 - the model's own code
            _log.warning("the model's health check failed", extra={"model": self.name, "reason": repr(error)})
            return False

    def serve(self, model: Any) -> None:
        """From now on answer with this model."""
        old = self.pipeline
        self.model, self.pipeline = model, Pipeline(model, self._batching, self._executed)
        self.described = Described(model)
        self.metrics.runs_on(*self.described.runs_on)
        self.statistics.batched = self.pipeline.batches
        if callable(tune := getattr(model, "tune", None)):
            self._tune(tune)
        self.starting, self.proven, self.progress = False, True, ""
        self.state, self.reason, self.failure = "READY", "", None
        self.used = time.monotonic()
        if old:
            self._retire(old)
        self._tell()

    def failed_to_start(self, error: Exception) -> None:
        """The process could not load it, and goes on nevertheless; `load` may be tried."""
        self.starting = False
        self._failed(error)

    def _tell(self) -> None:
        self.metrics.ready(self.pipeline is not None and not self.draining)
        self._changed(self)

    def _tune(self, tune: Callable[[], Awaitable[None]]) -> None:
        """Beside the first requests; a model that is replaced meanwhile need not end it."""
        self._stop_tuning()
        self._tuning = asyncio.get_running_loop().create_task(_settle(tune))

    def _stop_tuning(self) -> None:
        if self._tuning:
            self._tuning.cancel()
            self._tuning = None  # a finished one would keep the model

    def _retire(self, old: Pipeline) -> "asyncio.Task[None]":
        self._retiring.add(old)
        task = asyncio.create_task(old.retire())
        task.add_done_callback(lambda _: self._retiring.discard(old))
        return task

    @property
    def pipelines(self) -> list[Pipeline]:
        """The one that answers, and those that finish what they have. From any thread."""
        return [pipeline for pipeline in (self.pipeline, *tuple(self._retiring)) if pipeline]

    @property
    def pending(self) -> int:
        """Requests in work and waiting."""
        return sum(pipeline.active for pipeline in self.pipelines)

    @property
    def waiting(self) -> int:
        """Rows that wait for a forward pass."""
        return self.pipeline.waiting if self.pipeline else 0

    def _executed(self, rows: int, waited_s: float, run_s: float, requests: int) -> None:
        self.statistics.executed(rows, waited_s, run_s, requests)
        self.metrics.batch(rows)

    def drain(self) -> None:
        """From now on not ready; requests are still answered while the listeners are open."""
        self.draining = True
        self._tell()

    def admit(self) -> Pipeline:
        """The way to the model, if a request may be worked on now.

        Raises:
            ModelUnavailable: it is still loading or has failed to.
            NotFound: it was unloaded.
            Overloaded: it has as many requests as it may.
        """
        pipeline = self.pipeline
        if pipeline is None:
            raise self.why_not()
        if pipeline.active >= self.max_pending:
            raise Overloaded(f"the model {self.name} has {pipeline.active} requests waiting; try again")
        self.used = time.monotonic()
        return pipeline

    def expect(self) -> None:
        """`admit`, for a request that is not whole yet.

        Raises:
            RequestError: as `admit`.
        """
        self.admit()

    async def wake(self, deadline: float | None) -> "Served":
        """Itself, once it is in memory; this one is when the process has loaded it, or a caller.

        Raises:
            RequestError: as `admit`.
        """
        self.admit()
        return self

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile it is not unloaded for others."""
        self.holders += 1
        try:
            yield
        finally:
            self.holders -= 1

    def why_not(self) -> RequestError:
        """Why it does not answer now."""
        if self.state == "LOADING":
            progress = f" ({self.progress})" if self.progress else ""
            return ModelUnavailable(f"the model {self.name} is still loading{progress}")
        if self.draining:
            return ModelUnavailable(f"the model {self.name} is stopping")
        if self.failure and not self.proven:
            return self.failure
        if self.held_back:
            return ModelUnavailable(self.held_back)
        if self.state == "READY":
            return ModelUnavailable(f"the model {self.name} says that it is not ready")
        return NotFound(f"the model {self.name} is not loaded: {self.reason or 'it was unloaded'}")

    async def load(self) -> None:
        """Load it, or load it again: the old one answers until the new one does. Goes on when the caller has gone.

        Raises:
            InvalidInput: it cannot be loaded; the log says why. What was served before is still served.
            ModelUnavailable: it is being loaded for the first time.
        """
        if self._load is None:
            raise InvalidInput(f"the model {self.name} cannot be loaded again")
        self._check_first_load()
        try:
            await asyncio.shield(asyncio.ensure_future(self.load_now()))
        except ModelLoadFailed as error:
            raise InvalidInput(str(error)) from error

    async def load_now(self) -> None:
        """The same, at once and to its end.

        Raises:
            ModelLoadFailed: it cannot be loaded; the log says why. What was served before is still served.
        """
        if self._load is None:
            raise self.why_not()
        async with self._changing:
            if self.pipeline is None:
                self.state, self.reason = "LOADING", ""
            started = time.perf_counter()
            try:
                model = await apart(self._load, f"load-{self.name}")
            except Exception as error:
                raise self._failed(error) from error
            self.serve(model)
            self.metrics.loaded(time.perf_counter() - started)
        _log.info("loaded", extra={"model": self.name, "version": self.version})

    def _failed(self, error: Exception) -> ModelLoadFailed:
        """What those who wait for the load get. What is ours to tell has no paths."""
        self.metrics.failed()
        told = (error.told if isinstance(error, LoadFailed) else None) or _SEE_LOG
        self.failure = ModelLoadFailed(f"the model {self.name} was not loaded; {told}")
        if self.pipeline is None:
            self.state, self.reason = "UNAVAILABLE", f"it could not be loaded; {told}"
        extra = {"model": self.name, "version": self.version, "reason": str(error)}
        expected = isinstance(error, LoadFailed)
        _log.error("load failed", extra=extra, exc_info=None if expected else error)
        self._changed(self)
        return self.failure

    async def unload(self, reason: str = UNLOADED) -> None:
        """No longer answer; requests in work are finished first. Goes on when the caller has gone.

        Raises:
            ModelUnavailable: it is being loaded for the first time.
        """
        self._check_first_load()
        await asyncio.shield(asyncio.ensure_future(self.unload_now(reason)))

    async def unload_now(self, reason: str) -> None:
        """The same, at once and to its end."""
        async with self._changing:
            pipeline = self.pipeline
            if pipeline is None:
                self.state, self.reason = "UNAVAILABLE", reason
                return
            self.pipeline, self.model, self.described = None, None, Described()
            self.state, self.reason = "UNLOADING", reason
            self._stop_tuning()
            self._tell()
            try:
                await self._retire(pipeline)
            finally:
                self.state = "UNAVAILABLE"
            await asyncio.to_thread(memory.trim)
        _log.info("unloaded", extra={"model": self.name, "version": self.version})

    def _check_first_load(self) -> None:
        if self.starting:
            raise self.why_not()

    async def close(self) -> None:
        """At the end of the process, when nobody calls any more: let the model go."""
        self._stop_tuning()
        pipeline, self.pipeline = self.pipeline, None
        if pipeline:
            await self._retire(pipeline)

    def finished(self, protocol: str, request_id: str | None, rows: int, moments: tuple[int, int, int, int]) -> None:
        """Count one answered request, and log where its time went if it is to be traced."""
        started, parsed, inferred, encoded = moments
        self.statistics.succeeded(started, parsed, inferred, encoded, rows)
        entered = taken = parsed
        if (record := CURRENT.get()) is not None:
            entered = record.entered = record.entered or parsed
            taken = record.taken = record.taken or entered
            record.started, record.inferred, record.encoded, record.rows = started, inferred, encoded, rows
        self.metrics.spent(started, entered, taken, inferred, encoded)
        if self.trace.level != "OFF" and self.trace.takes_this_one():
            _log.info(
                "trace",
                extra={
                    "model": self.name,
                    "version": self.version,
                    "protocol": protocol,
                    "id": (request_id or "")[:64],
                    "at": round(time.time() - (time.perf_counter_ns() - started) / 1e9, 6),
                    "compute_input_us": (parsed - started) // 1000,
                    "compute_infer_us": (inferred - parsed) // 1000,
                    "compute_output_us": (encoded - inferred) // 1000,
                },
            )


async def _settle(tune: Callable[[], Awaitable[None]]) -> None:
    await tune()
    await asyncio.to_thread(memory.trim)  # loading and measuring took more than serving does
