"""The ASGI application: path -> handler. Called by uvicorn through `wire/server.py`.

Prediction paths are found in a dictionary, made anew when the set of models changes; the rest in the table of `endpoints.py`.
"""

from typing import Any

from moorage.access.routes import pattern_of
from moorage.api.limits import RequestLimits
from moorage_predictor.errors import MethodNotAllowed, NotFound
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire.http.answers import send_error
from moorage_predictor.wire.http.body import BodyReader
from moorage_predictor.wire.http.endpoints import ENDPOINTS, Endpoints
from moorage_predictor.wire.http.inference import Inference
from moorage_predictor.wire.http.types import Handler, Receive, Scope, Send
from moorage_predictor.wire.repository import Repository

_SHOWN: int = 80
"""Characters of a path in a message."""


class App:
    """Of one process."""

    def __init__(
        self,
        repository: Repository,
        metrics: Metrics,
        limits: RequestLimits,
        *,
        control: bool,
        metrics_apart: bool = False,
    ) -> None:
        """With `metrics_apart` they are told elsewhere."""
        bodies = BodyReader(limits)
        self._repository = repository
        self._inference = Inference(limits, bodies)
        repository.changed = self._rebuild
        self._rebuild()
        endpoints = Endpoints(repository, metrics, limits, bodies, control=control, metrics_apart=metrics_apart)
        self._table = [
            (pattern_of(endpoint.path), endpoint.method, getattr(endpoints, endpoint.handler)) for endpoint in ENDPOINTS
        ]

    def _rebuild(self) -> None:
        """After a model or a version has come or gone. Which one is the newest, the handlers ask for each request."""
        predictions: dict[str, Handler] = {}
        for model in self._repository.models():
            predictions |= {
                f"/v2/models/{model.name}/infer": self._inference.infer(model),
                f"/v1/models/{model.name}:predict": self._inference.predict(model),
                f"/v1/models/{model.name}:explain": self._inference.explain(model),
            }
            for served in model:
                path = f"/v2/models/{served.name}/versions/{served.version}/infer"
                predictions[path] = self._inference.infer(served)
        self._predictions = predictions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["method"] == "POST":
            handler = self._predictions.get(scope["path"])
            if handler is not None:
                await handler(scope, receive, send)
                return
        try:
            await self._other(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the catch-all of everything that is no prediction
            await send_error(scope, receive, send, error)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        allowed: list[str] = []
        for pattern, of, handler in self._table:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if of == method:
                arguments: dict[str, Any] = found.groupdict()
                await handler(scope, receive, send, **arguments)
                return
            allowed.append(of)
        if allowed:
            raise MethodNotAllowed(path[:_SHOWN], allowed)
        raise NotFound(f"no such path here: {path[:_SHOWN]}")
