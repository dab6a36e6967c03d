"""V1 and V2 over HTTP: the SDK's endpoints where they are right, ours for predict and infer. Called by `wire/server.py`.

Every answer that is not 2xx is `{"error": "..."}`, as the protocol wants; a defect of ours says `internal error` only.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final

import kserve.errors
import orjson
from fastapi import FastAPI, Request, Response
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER, PredictorProtocol
from kserve.protocol.rest.v1_endpoints import V1Endpoints
from kserve.protocol.rest.v2_endpoints import V2Endpoints
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from moorage_predictor.errors import PayloadTooLarge, RequestError
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire.dataplane import MoorageDataPlane

_log = logging.getLogger(__name__)

_SDK_STATUS: Final = {
    kserve.errors.InvalidInput: 400,
    kserve.errors.InferenceError: 400,  # the SDK raises it for what a client asked for
    kserve.errors.ModelNotFound: 404,
    kserve.errors.UnsupportedProtocol: 501,
    NotImplementedError: 501,
    kserve.errors.ModelNotReady: 503,
    kserve.errors.ServerNotReady: 503,
}
_BODY_IDLE_S: Final = 15
_BINARY: Final = "application/octet-stream"


def create_app(dataplane: MoorageDataPlane, metrics: Metrics, *, max_body_bytes: int) -> FastAPI:
    """The ASGI application of one model."""
    app = FastAPI(title="Moorage predictor", docs_url=None, redoc_url=None, openapi_url=None)
    _add_sdk_routes(app, dataplane)
    routes = _Routes(dataplane, metrics, max_body_bytes)
    app.add_route("/metrics", routes.metrics, methods=["GET"])
    app.add_route("/v1/models/{model_name}:predict", routes.predict, methods=["POST"])
    app.add_route("/v2/models/{model_name}/infer", routes.infer, methods=["POST"])
    for kind in (HTTPException, RequestError, *_SDK_STATUS, Exception):
        app.add_exception_handler(kind, _answer_error)
    return app


def _add_sdk_routes(app: FastAPI, dataplane: MoorageDataPlane) -> None:
    """What the SDK answers well. Not taken over: repository load and unload, which are off by default."""
    v1, v2 = V1Endpoints(dataplane), V2Endpoints(dataplane)
    for path, endpoint in (
        ("/", dataplane.live),
        ("/v1/models", v1.models),
        ("/v1/models/{model_name}", v1.model_ready),
        ("/v2", v2.metadata),
        ("/v2/health/live", v2.live),
        ("/v2/health/ready", v2.ready),
        ("/v2/models", v2.models),
        ("/v2/models/{model_name}", v2.model_metadata),
        ("/v2/models/{model_name}/ready", v2.model_ready),
    ):
        app.add_api_route(path, endpoint, methods=["GET"], response_model=None)


class _Routes:
    def __init__(self, dataplane: MoorageDataPlane, metrics: Metrics, max_body_bytes: int) -> None:
        self._dataplane = dataplane
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def metrics(self, request: Request) -> Response:
        """Ours first, then the SDK's and the process's own from the default registry."""
        return Response(
            generate_latest(self._metrics.registry) + generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST
        )

    async def predict(self, request: Request) -> Response:
        """V1."""
        return await self._counted("v1", request, self._predict)

    async def infer(self, request: Request) -> Response:
        """V2, JSON or binary."""
        return await self._counted("v2", request, self._infer)

    async def _counted(
        self, protocol: str, request: Request, route: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started = time.perf_counter()
        try:
            response = await route(request)
        except Exception as error:  # noqa: BLE001 - the process's one catch-all for HTTP: logged, counted, answered
            response = await _answer_error(request, error)
        self._metrics.answered(protocol, str(response.status_code), time.perf_counter() - started)
        return response

    async def _predict(self, request: Request) -> Response:
        name, headers = request.path_params["model_name"], dict(request.headers)
        self._dataplane.get_model_from_registry(name)
        self._dataplane.admit()
        decoded, attributes = self._dataplane.decode(await self._body(request), headers)
        answer, _ = await self._dataplane.infer(model_name=name, request=decoded, headers=headers)
        content, extra = self._dataplane.encode(name, answer, headers, attributes)
        if isinstance(content, (bytes, str)):  # a CloudEvent
            return Response(content, headers=extra)
        return _json(content, headers=extra)

    async def _infer(self, request: Request) -> Response:
        name, headers = request.path_params["model_name"], dict(request.headers)
        self._dataplane.get_model_from_registry(name)
        self._dataplane.admit()
        decoded, _ = self._dataplane.decode(await self._body(request), headers, PredictorProtocol.REST_V2.value, name)
        answer, _ = await self._dataplane.infer(model_name=name, request=decoded, headers=headers)
        content, json_length = answer.to_rest()
        if json_length is None:
            return _json(content)
        return Response(content, media_type=_BINARY, headers={INFERENCE_CONTENT_LENGTH_HEADER: str(json_length)})

    async def _body(self, request: Request) -> bytes:
        """The body, refused as soon as it is known to be too long."""
        stated = request.headers.get("content-length", "0")
        if stated.isdigit() and int(stated) > self._max_body_bytes:
            raise PayloadTooLarge(f"the body: expected at most {self._max_body_bytes} bytes, found {stated[:20]}")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "content-encoding: compressed bodies are not supported")
        chunks, size = [], 0
        async for chunk in _timely(request.stream()):
            size += len(chunk)
            if size > self._max_body_bytes:
                raise PayloadTooLarge(f"the body: expected at most {self._max_body_bytes} bytes, found more")
            chunks.append(chunk)
        return b"".join(chunks)


async def _timely(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same, as long as each comes in time: a stalled client must not hold what it has sent in memory for ever."""
    while True:
        try:
            async with asyncio.timeout(_BODY_IDLE_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408, f"the body: nothing came for {_BODY_IDLE_S} s", {"Connection": "close"}) from None
        yield chunk


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")


async def _answer_error(request: Request, error: Any) -> Response:
    status, text, headers = 500, "internal error", {}
    if isinstance(error, HTTPException):
        status, text, headers = error.status_code, str(error.detail), dict(error.headers or {})
    elif isinstance(error, ClientDisconnect):
        status, text = 499, "the client went away"  # nobody reads it; the code is for the metrics
    elif isinstance(error, RequestError):
        status, text = error.status, str(error)
    else:
        for kind, code in _SDK_STATUS.items():
            if isinstance(error, kind):
                status, text = code, str(error)
    if status == 503:
        headers["Retry-After"] = "1"
    if status >= 500 and status not in (501, 503):
        _log.error("request failed", extra={"path": request.url.path}, exc_info=error)
    return _json({"error": text}, status, headers)
