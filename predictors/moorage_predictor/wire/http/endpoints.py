"""Everything over HTTP but the answers to predictions, as one table that the router, the OpenAPI document and the test of
the inventory all read. Called by `app.py`.
"""

from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Final, Literal

from moorage import __version__
from moorage.access.principal import Role
from moorage.access.routes import Operation, Routes, Rule
from moorage.api.limits import RequestLimits
from moorage_predictor.errors import ControlDisabled, InvalidInput, NotFound
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire.control import LogSettings
from moorage_predictor.wire.decode import parse_object
from moorage_predictor.wire.descriptions import EXTENSIONS, PRODUCT, config, metadata
from moorage_predictor.wire.http.answers import send_json, send_parts
from moorage_predictor.wire.http.body import BodyReader
from moorage_predictor.wire.http.metrics import METRICS_TYPE
from moorage_predictor.wire.http.types import Receive, Scope, Send
from moorage_predictor.wire.repository import Repository
from moorage_predictor.wire.served import Served
from moorage_predictor.wire.tensor import kind


@dataclass(frozen=True)
class Endpoint:
    """One path. `handler` is a method of `Endpoints`, or for predictions of `inference.Inference`."""

    method: Literal["GET", "POST"]
    path: str
    handler: str
    summary: str
    role: Role | None = "admin"
    """What a caller needs where callers are known; None: nothing."""
    operation: Operation | None = "manage"
    """What it counts as for rate limits; None: nothing."""
    control: bool = False
    """Off without --control-endpoints."""


def _both(
    method: Literal["GET", "POST"],
    path: str,
    handler: str,
    summary: str,
    role: Role | None = "admin",
    operation: Operation | None = "manage",
) -> tuple[Endpoint, Endpoint]:
    """With and without a version in the path."""
    versioned = path.replace("{name}", "{name}/versions/{version}")
    return (
        Endpoint(method, path, handler, summary, role, operation),
        Endpoint(method, versioned, handler, summary, role, operation),
    )


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("GET", "/", "alive", "200 as long as the process serves", None, None),
    Endpoint("GET", "/v2/health/live", "live", "200 as long as the process serves", None, None),
    Endpoint(
        "GET", "/v2/health/ready", "ready", "200 if every model that must be loaded answers, else 503", None, None
    ),
    Endpoint("GET", "/metrics", "metrics", "metrics in Prometheus' text format", "read", None),
    Endpoint("GET", "/v1/models", "v1_models", "names of the models", "read"),
    Endpoint("GET", "/v1/models/{name}", "v1_model", "200 once the model answers, 503 before", "read"),
    Endpoint("POST", "/v1/models/{name}:predict", "predict", "V1 prediction", "read-write", "predict"),
    Endpoint(
        "POST",
        "/v1/models/{name}:explain",
        "predict",
        "V1 explanation, where the model gives one",
        "read-write",
        "predict",
    ),
    Endpoint("GET", "/v2", "server", "name, version and extensions of the server", "read"),
    Endpoint("GET", "/v2/models", "v2_models", "names of the models", "read"),
    Endpoint("GET", "/v2/models/stats", "statistics", "counts and times of every model", "read"),
    *_both("GET", "/v2/models/{name}", "model", "inputs, outputs and versions", "read"),
    *_both("GET", "/v2/models/{name}/ready", "model_ready", "200 once the model answers, 503 before", None, None),
    *_both("POST", "/v2/models/{name}/infer", "predict", "V2 prediction: JSON, binary or raw", "read-write", "predict"),
    *_both("GET", "/v2/models/{name}/config", "config", "the configuration, in Triton's form", "read"),
    *_both("GET", "/v2/models/{name}/stats", "statistics", "counts and times", "read"),
    Endpoint("GET", "/v2/models/{name}/trace/setting", "model_trace", "trace settings of the model", "read"),
    Endpoint("POST", "/v2/models/{name}/trace/setting", "set_model_trace", "change them", control=True),
    Endpoint("GET", "/v2/trace/setting", "trace", "trace settings", "read"),
    Endpoint("POST", "/v2/trace/setting", "set_trace", "change them", control=True),
    Endpoint("GET", "/v2/logging", "logging", "log settings", "read"),
    Endpoint("POST", "/v2/logging", "set_logging", "change them", control=True),
    Endpoint("POST", "/v2/repository/index", "index", "every model with its state", "read"),
    Endpoint("POST", "/v2/repository/models/{name}/load", "load", "load it, or load it again", control=True),
    Endpoint("POST", "/v2/repository/models/{name}/unload", "unload", "stop answering", control=True),
)


def routes() -> Routes:
    """What each endpoint asks of its caller."""
    return Routes([Rule(each.method, each.path, each.role, each.operation) for each in ENDPOINTS])


class Endpoints:
    """The handlers. Each answers itself, or raises a `RequestError`."""

    def __init__(
        self,
        repository: Repository,
        metrics: Metrics,
        limits: RequestLimits,
        bodies: BodyReader,
        *,
        control: bool,
        metrics_apart: bool,
    ) -> None:
        self._metrics_apart = metrics_apart
        self._repository = repository
        self._metrics = metrics
        self._limits = limits
        self._control = control
        self._bodies = bodies
        self._log = LogSettings()

    async def alive(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same in V1's words."""
        await send_json(send, {"status": "alive"})

    async def live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The process serves."""
        await send_json(send, {"live": True})

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every model that is needed answers; else why not."""
        if await self._repository.is_ready():
            await send_json(send, {"ready": True})
        else:
            error = await self._repository.why_not()
            await send_json(send, {"ready": False, "error": str(error), "code": error.code}, 503)

    async def metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ours first, then what models and libraries have counted themselves."""
        if self._metrics_apart:
            raise NotFound("no metrics here: they have a port of their own, --metrics-port")
        await send_parts(send, [await self._metrics.text()], (METRICS_TYPE,))

    async def v1_models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Names."""
        await send_json(send, {"models": self._repository.names()})

    async def v2_models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Names, in the form of KServe's server."""
        await send_json(send, {"models": self._repository.names()})

    async def v1_model(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        """Whether one model answers."""
        await self._readiness(send, self._repository.find(name))

    async def model_ready(self, scope: Scope, receive: Receive, send: Send, name: str, version: str = "") -> None:
        """The same over V2."""
        await self._readiness(send, self._repository.find(name, version))

    async def _readiness(self, send: Send, served: Served) -> None:
        if not await served.is_ready():
            raise served.why_not()
        await send_json(send, {"name": served.name, "ready": True})

    async def predict(self, scope: Scope, receive: Receive, send: Send, name: str, version: str = "") -> None:
        """A prediction that the application's dictionary of paths does not hold, so its model or version is unknown."""
        started = perf_counter_ns()
        try:
            self._repository.find(name, version)
            raise NotFound(f"no such path here: {scope['path'][:80]}")
        except NotFound as error:
            unknown = self._repository.unknown
            counted = unknown.v2 if scope["path"].startswith("/v2/") else unknown.v1
            counted.answered(error.status, (perf_counter_ns() - started) / 1e9)
            raise

    async def server(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The server itself."""
        await send_json(send, {"name": PRODUCT, "version": __version__, "extensions": EXTENSIONS})

    async def model(self, scope: Scope, receive: Receive, send: Send, name: str, version: str = "") -> None:
        """Metadata of one model, which need not be loaded yet."""
        served = self._repository.find(name, version)
        await send_json(send, metadata(served, self._repository.versions(name)))

    async def config(self, scope: Scope, receive: Receive, send: Send, name: str, version: str = "") -> None:
        """Configuration of one model."""
        await send_json(send, config(self._repository.find(name, version)))

    async def statistics(self, scope: Scope, receive: Receive, send: Send, name: str = "", version: str = "") -> None:
        """Of one version, of all of a model, or of all."""
        chosen = self._repository.chosen(name, version)
        stats = [served.statistics.as_dict(served.name, served.version) for served in chosen]
        await send_json(send, {"model_stats": stats})

    async def trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Trace settings of all models without their own."""
        await send_json(send, self._repository.trace.as_dict())

    async def set_trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change them."""
        self._repository.trace.update(await self._settings(scope, receive))
        await send_json(send, self._repository.trace.as_dict())

    async def model_trace(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        """Trace settings of one model."""
        await send_json(send, self._repository.find(name).trace.as_dict())

    async def set_model_trace(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        """Change them, for this model alone."""
        served = self._repository.find(name)
        self._repository.set_trace(served, await self._settings(scope, receive))
        await send_json(send, served.trace.as_dict())

    async def logging(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Log settings."""
        await send_json(send, self._log.as_dict())

    async def set_logging(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Change them."""
        self._log.update(await self._settings(scope, receive))
        await send_json(send, self._log.as_dict())

    async def index(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every model, or those that are ready."""
        ready = (await self._object(scope, receive)).get("ready", False)
        if type(ready) is not bool:
            raise InvalidInput(f"ready: expected true or false, found {kind(ready)}")
        await send_json(send, self._repository.index(ready))

    async def load(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        """Load, or load again; the body's parameters have no meaning here."""
        await self._settings(scope, receive)
        await self._repository.load(name)
        await send_json(send, {"name": name, "load": True})

    async def unload(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        """Unload."""
        await self._settings(scope, receive)
        await self._repository.unload(name)
        await send_json(send, {"name": name, "unload": True})

    async def _settings(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        if not self._control:
            raise ControlDisabled
        return await self._object(scope, receive)

    async def _object(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        """The body, where none is an empty object."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            body = await self._bodies.read(scope, headers, receive)
            return parse_object(body, self._limits) if body.strip() else {}
        finally:
            self._bodies.release(scope)
