"""The models of one process, loaded or not, and what may be asked of them. Every protocol stands on this.

http | grpc -> Repository.find(name, version) -> Served.admit() -> Served.pipeline -> the model
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, Literal

from moorage_predictor.batching import BatchLimits
from moorage_predictor.errors import InvalidInput, ModelUnavailable, NotFound, Overloaded, RequestError
from moorage_predictor.wire.control import TraceSettings
from moorage_predictor.wire.pipeline import Pipeline
from moorage_predictor.wire.statistics import Statistics
from moorage_predictor.wire.tensor import short

_log = logging.getLogger(__name__)

_HEALTH_S: Final = 1.0
_UNLOADED: Final = "unloaded"

State = Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE"]
"""Words of the model repository extension."""


class Served:
    """One model name with its one version. Known before it is loaded, so that clients get 503 and not 404 meanwhile."""

    def __init__(
        self,
        name: str,
        version: str,
        *,
        max_pending: int,
        platform: str,
        batching: BatchLimits | None = None,
        load: Callable[[], Any] | None = None,
        changed: Callable[[bool], None] = lambda ready: None,
    ) -> None:
        """`load` gives the model anew, `changed` is told of readiness; `batching` is for models that do not batch
        themselves."""
        self.name = name
        self.version = version
        self.platform = platform
        self.state: State = "LOADING"
        self.reason = ""
        self.model: Any = None  # see `pipeline.Model`; a kserve.Model has no types
        self.pipeline: Pipeline | None = None
        self._retiring: set[Pipeline] = set()
        self.statistics = Statistics()
        self.trace = TraceSettings()
        self.draining = False
        self.starting = False
        """Whether the process itself is loading it for the first time."""
        self._max_pending = max_pending
        self._batching = batching
        self._tuning: asyncio.Task[None] | None = None
        self._load = load
        self._changed = changed
        self._changing = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether it answers predictions and goes on doing so."""
        return self.pipeline is not None and not self.draining and bool(self.model.ready)

    async def is_ready(self) -> bool:
        """The same, and what the model itself says of its health, if it has something to say."""
        pipeline = self.pipeline
        if not self.ready or pipeline is None or pipeline.health is None:
            return self.ready
        try:
            return bool(await asyncio.wait_for(pipeline.health(), _HEALTH_S))
        except Exception as error:  # noqa: BLE001 - the model's own code
            _log.warning("the model's health check failed", extra={"model": self.name, "reason": repr(error)})
            return False

    def serve(self, model: Any) -> None:
        """From now on answer with this model."""
        old = self.pipeline
        self.model, self.pipeline = model, Pipeline(model, self._batching, self.statistics.executed)
        self.statistics.batched = self.pipeline.batches
        if callable(tune := getattr(model, "tune", None)):
            self._tune(tune())
        self.starting = False
        self.state, self.reason = "READY", ""
        if old:
            self._retire(old)
        self._changed(not self.draining)

    def _tune(self, tuning: Coroutine[Any, Any, None]) -> None:
        """Beside the first requests; a model that is replaced meanwhile need not end it."""
        if self._tuning:
            self._tuning.cancel()
        self._tuning = asyncio.get_running_loop().create_task(tuning)

    def _retire(self, old: Pipeline) -> "asyncio.Task[None]":
        self._retiring.add(old)
        task = asyncio.create_task(old.retire())
        task.add_done_callback(lambda _: self._retiring.discard(old))
        return task

    @property
    def pending(self) -> int:
        """Requests in work and waiting."""
        return sum(pipeline.active for pipeline in (self.pipeline, *self._retiring) if pipeline)

    def drain(self) -> None:
        """From now on not ready; requests are still answered while the listeners are open."""
        self.draining = True
        self._changed(False)

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
        if pipeline.active >= self._max_pending:
            raise Overloaded(f"the model {self.name} has {pipeline.active} requests waiting; try again")
        return pipeline

    def why_not(self) -> RequestError:
        """Why it does not answer now."""
        if self.state == "LOADING":
            return ModelUnavailable(f"the model {self.name} is still loading")
        if self.draining:
            return ModelUnavailable(f"the model {self.name} is stopping")
        if self.state == "READY":
            return ModelUnavailable(f"the model {self.name} says that it is not ready")
        return NotFound(f"the model {self.name} is not loaded: {self.reason or 'it was unloaded'}")

    @property
    def takes_bytes(self) -> bool:
        """Whether a V1 instance may hold bytes where JSON has base64; models of ours take them."""
        return bool(getattr(self.model, "takes_bytes", False))

    @property
    def fresh_outputs(self) -> bool:
        """Whether the model never writes over an answer that it has given; those of ours do not."""
        return bool(getattr(self.model, "fresh_outputs", False))

    def input_types(self) -> list[dict[str, Any]]:
        """As the model declares them; nothing before it is loaded."""
        return list(self.model.get_input_types()) if self.model is not None else []

    def output_types(self) -> list[dict[str, Any]]:
        """The same of its outputs."""
        return list(self.model.get_output_types()) if self.model is not None else []

    def parameters(self) -> dict[str, Any]:
        """How the model runs, as it says of itself; models of ours do."""
        give = getattr(self.model, "parameters", None)
        return give() if callable(give) else {}

    def labels(self, output: str) -> tuple[str, ...] | None:
        """Names of an output's classes, for the classification extension; models of ours have them."""
        give = getattr(self.model, "labels", None)
        return give(output) if callable(give) else None

    async def load(self) -> None:
        """Load it, or load it again: the old one answers until the new one does. Goes on when the caller has gone.

        Raises:
            InvalidInput: it cannot be loaded; the log says why. What was served before is still served.
            ModelUnavailable: it is being loaded for the first time.
        """
        if self._load is None:
            raise InvalidInput(f"the model {self.name} cannot be loaded again")
        self._check_first_load()
        await asyncio.shield(asyncio.ensure_future(self._load_now(self._load)))

    async def _load_now(self, load: Callable[[], Any]) -> None:
        async with self._changing:
            if self.pipeline is None:
                self.state, self.reason = "LOADING", ""
            try:
                model = await asyncio.to_thread(load)
            except BaseException as error:
                if self.pipeline is None:
                    self.state, self.reason = "UNAVAILABLE", "it could not be loaded; the server's log has the reason"
                _log.error("load failed", extra={"model": self.name}, exc_info=error)
                if not isinstance(error, Exception):
                    raise
                raise InvalidInput(f"the model {self.name} was not loaded; the server's log has the reason") from error
            self.serve(model)
        _log.info("loaded", extra={"model": self.name})

    async def unload(self) -> None:
        """No longer answer; requests in work are finished first. Goes on when the caller has gone.

        Raises:
            ModelUnavailable: it is being loaded for the first time.
        """
        self._check_first_load()
        await asyncio.shield(asyncio.ensure_future(self._unload_now()))

    async def _unload_now(self) -> None:
        async with self._changing:
            pipeline = self.pipeline
            if pipeline is None:
                return
            self.pipeline, self.model, self.state = None, None, "UNLOADING"
            self._changed(False)
            try:
                await self._retire(pipeline)
            finally:
                self.state, self.reason = "UNAVAILABLE", _UNLOADED
        _log.info("unloaded", extra={"model": self.name})

    def _check_first_load(self) -> None:
        if self.starting:
            raise self.why_not()

    async def close(self) -> None:
        """At the end of the process, when nobody calls any more: let the model go."""
        if self._tuning:
            self._tuning.cancel()
        pipeline, self.pipeline = self.pipeline, None
        if pipeline:
            await self._retire(pipeline)

    def finished(self, protocol: str, request_id: str | None, rows: int, moments: tuple[int, int, int, int]) -> None:
        """Count one answered request, and log where its time went if it is to be traced."""
        started, parsed, inferred, encoded = moments
        self.statistics.succeeded(started, parsed, inferred, encoded, rows)
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


class Repository:
    """By name."""

    def __init__(self, models: list[Served]) -> None:
        self._models = {served.name: served for served in models}
        self.trace = TraceSettings()
        """Of every model that has no settings of its own."""
        for served in models:
            served.trace = self.trace

    def __iter__(self) -> Iterator[Served]:
        return iter(self._models.values())

    def find(self, name: str, version: str = "") -> Served:
        """The model of this name; no version means the newest.

        Raises:
            NotFound: no such model or version; the message names those that are there.
        """
        served = self._models.get(name)
        if served is None:
            raise NotFound(f"no model {short(name)} here; there is {', '.join(self._models)}")
        if version and version != served.version:
            raise NotFound(f"the model {name} has no version {short(version)}; it has {served.version}")
        return served

    def set_trace(self, served: Served, given: Mapping[str, Any]) -> None:
        """Change one model's trace settings; from then on they are its own.

        Raises:
            InvalidInput: a setting is unknown or cannot be so.
        """
        own = served.trace.copy() if served.trace is self.trace else served.trace
        own.update(given)
        served.trace = own

    async def is_ready(self) -> bool:
        """Whether every model that is wanted answers; one that was unloaded is not."""
        wanted = [served for served in self if served.state != "UNAVAILABLE" or served.reason != _UNLOADED]
        return all([await served.is_ready() for served in wanted])

    def index(self, only_ready: bool) -> list[dict[str, str]]:
        """As the model repository extension lists them."""
        return [
            {"name": served.name, "version": served.version, "state": served.state, "reason": served.reason}
            for served in self
            if served.ready or not only_ready
        ]
