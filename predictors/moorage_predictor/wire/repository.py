"""The models of one process, and how they are found. Every protocol stands on this.

http | grpc -> Repository.route(name, version) -> Served -> Served.admit() -> Served.pipeline -> the model

A process of one model has exactly this; `model_repository.py` adds what many models need.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from moorage_predictor.errors import ModelUnavailable, NotFound, RequestError
from moorage_predictor.metrics import ModelMetrics
from moorage_predictor.wire.control import TraceSettings
from moorage_predictor.wire.served import Served
from moorage_predictor.wire.tensor import short
from moorage_predictor.wire.versions import Versions

_SHOWN = 20
"""Names in a message."""


class Route(Protocol):
    """Where a path leads: to one version, or to whichever is the newest when the request is worked on."""

    @property
    def newest(self) -> Served:
        """Who answers now."""

    def expect(self) -> None:
        """See `Served.expect`."""

    async def wake(self, deadline: float | None) -> Served:
        """See `Served.wake`."""


class Repository:
    """By name and version."""

    def __init__(self, models: list[Served]) -> None:
        self._models: dict[str, Versions] = {}
        self.draining = False
        self.trace = TraceSettings()
        """Of every model that has no settings of its own."""
        self.unknown = ModelMetrics()
        """Counts requests for models that are not there."""
        self.changed: Callable[[], None] = lambda: None
        """Called when a version has come or gone."""
        for served in models:
            self.add(served)

    def add(self, served: Served) -> None:
        """One more version."""
        served.trace = self.trace
        if versions := self._models.get(served.name):
            versions.add(served)
        else:
            self._models[served.name] = Versions(served.name, served)
        self.changed()

    def remove(self, served: Served) -> None:
        """It is no longer found; who has found it already is still answered."""
        versions = self._models[served.name]
        if len(versions) == 1:
            del self._models[served.name]
        else:
            versions.remove(served)
        self.changed()

    def __iter__(self) -> Iterator[Served]:
        """Every version of every model."""
        return (served for versions in self._models.values() for served in versions)

    def models(self) -> Iterator[Versions]:
        """Every model."""
        return iter(self._models.values())

    def names(self) -> list[str]:
        """Of the models."""
        return list(self._models)

    def versions(self, name: str) -> Versions:
        """The model of this name.

        Raises:
            NotFound: there is none; the message names those that are there.
        """
        versions = self._models.get(name)
        if versions is None:
            names = list(self._models)
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise NotFound(f"no model {short(name)} here; there is {', '.join(names[:_SHOWN]) or 'none'}{more}")
        return versions

    def route(self, name: str, version: str = "") -> Route:
        """Where predictions go; no version means the newest.

        Raises:
            NotFound: no such model or version; the message names those that are there.
        """
        versions = self.versions(name)
        if not version:
            return versions
        served = versions.get(version)
        if served is None:
            there = ", ".join(one.version for one in list(versions)[-_SHOWN:])
            raise NotFound(f"the model {name} has no version {short(version)}; it has {there}")
        return served

    def find(self, name: str, version: str = "") -> Served:
        """The version itself; no version means the newest.

        Raises:
            NotFound: as `route`.
        """
        return self.route(name, version).newest

    def chosen(self, name: str = "", version: str = "") -> list[Served]:
        """One version, all of one model, or all there are.

        Raises:
            NotFound: as `route`.
        """
        if not name:
            return list(self)
        return [self.find(name, version)] if version else list(self.versions(name))

    async def preload(self) -> None:
        """Load what must be there before the process is ready; here the process does it itself."""

    async def poll(self) -> None:
        """Until cancelled, look for models that have come and gone; here none does."""

    async def load(self, name: str) -> None:
        """Load it, or load it again.

        Raises:
            RequestError: see `Served.load`.
        """
        await self.find(name).load()

    async def unload(self, name: str) -> None:
        """No longer answer.

        Raises:
            RequestError: see `Served.unload`.
        """
        await self.find(name).unload()

    def set_trace(self, served: Served, given: Mapping[str, Any]) -> None:
        """Change one model's trace settings; from then on they are its own.

        Raises:
            InvalidInput: a setting is unknown or cannot be so.
        """
        own = served.trace.copy() if served.trace is self.trace else served.trace
        own.update(given)
        served.trace = own

    def needed(self) -> list[Served]:
        """Those without which the process is not ready; one that was unloaded is not."""
        return [versions.newest for versions in self.models() if versions.newest.wanted]

    async def is_ready(self) -> bool:
        """Whether every model that is needed answers."""
        return not self.draining and all([await served.is_ready() for served in self.needed()])

    async def why_not(self) -> RequestError:
        """Why the process is not ready: above all a model that could not be loaded."""
        if self.draining:
            return ModelUnavailable("the server is stopping")
        needed = self.needed()
        failure = next((served.failure for served in needed if served.failure and not served.pipeline), None)
        if failure:
            return failure
        for served in needed:
            if not await served.is_ready():
                return served.why_not()
        return ModelUnavailable("the server has just become ready")

    def hold_back(self, reason: str | None) -> None:
        """From now on not ready, for this reason, although requests are answered; None ends it."""
        for served in self:
            served.held_back = reason

    def drain(self) -> None:
        """From now on not ready; requests are still answered while the listeners are open."""
        self.draining = True
        for served in self:
            served.drain()

    @property
    def pending(self) -> int:
        """Requests in work and waiting."""
        return sum(served.pending + served.holders for served in self)

    async def close(self) -> None:
        """At the end of the process."""
        for served in self:
            await served.close()

    def index(self, only_ready: bool) -> list[dict[str, str]]:
        """As the model repository extension lists them."""
        return [
            {"name": served.name, "version": served.version, "state": served.state, "reason": served.reason}
            for served in self
            if served.ready or not only_ready
        ]
