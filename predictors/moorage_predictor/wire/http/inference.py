"""The hot path over HTTP: V1 `:predict` and `:explain`, V2 `infer`. Handlers are made once for each model by `app.py`.

bytes -> body -> decode -> pipeline -> encode -> bytes; one parse, one serialisation.
"""

import base64
import logging
from collections.abc import AsyncIterator
from time import perf_counter_ns
from typing import Any, Final, Protocol

from kserve import InferRequest, InferResponse

from moorage.api.limits import RequestLimits
from moorage_predictor.errors import InvalidInput, ModelFault
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire import cloudevents
from moorage_predictor.wire.decode import infer_request, parse_object, raw_request
from moorage_predictor.wire.encode import infer_response
from moorage_predictor.wire.http.answers import JSON, send_error, send_parts
from moorage_predictor.wire.http.body import Body, BodyReader
from moorage_predictor.wire.http.compression import compressed
from moorage_predictor.wire.http.types import Handler, Headers, Receive, Scope, Send
from moorage_predictor.wire.json_answers import dumps, json_ready, v1_body
from moorage_predictor.wire.repository import Served
from moorage_predictor.wire.tensor import kind

_log = logging.getLogger(__name__)

_HEADER_LENGTH: Final = "inference-header-content-length"
_BINARY: Final = (b"content-type", b"application/octet-stream")
_HeaderList = list[tuple[bytes, bytes]]
_Moments = tuple[int, int, int, int]


class _Answerer(Protocol):
    async def __call__(self, scope: Scope, headers: Headers, receive: Receive) -> tuple[list[Any], _HeaderList]: ...


class Inference:
    """Makes the handlers of one process's models."""

    def __init__(self, limits: RequestLimits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._bodies = BodyReader(limits)

    def infer(self, served: Served) -> Handler:
        """`POST /v2/models/NAME[/versions/VERSION]/infer`."""
        limits, bodies = self._limits, self._bodies

        async def answer(scope: Scope, headers: Headers, receive: Receive) -> tuple[list[Any], _HeaderList]:
            started = perf_counter_ns()
            pipeline = served.admit()
            body = await bodies.read(scope, headers, receive)
            request = _v2_request(served, body, headers, limits)
            parsed = perf_counter_ns()
            result, extra = await pipeline.predict(request, headers)
            inferred = perf_counter_ns()
            if isinstance(result, InferResponse):
                parts, json_length = infer_response(request, result, served.version, served.labels)
            elif isinstance(result, dict):  # a model that answers in the protocol's own words
                parts, json_length = [dumps(result)], None
            else:
                raise ModelFault(f"the model {served.name} gave no V2 answer")
            encoded = perf_counter_ns()
            served.finished("v2", request.id, _rows(request), (started, parsed, inferred, encoded))
            answer_headers = (
                [JSON] if json_length is None else [_BINARY, (_HEADER_LENGTH.encode(), b"%d" % json_length)]
            )
            return parts, _with(answer_headers, extra) if extra else answer_headers

        return self._handler("v2", served, answer)

    def predict(self, served: Served) -> Handler:
        """`POST /v1/models/NAME:predict`."""
        return self._v1(served, explain=False)

    def explain(self, served: Served) -> Handler:
        """`POST /v1/models/NAME:explain`."""
        return self._v1(served, explain=True)

    def _v1(self, served: Served, *, explain: bool) -> Handler:
        async def answer(scope: Scope, headers: Headers, receive: Receive) -> tuple[list[Any], _HeaderList]:
            started = perf_counter_ns()
            pipeline = served.admit()
            body = await self._bodies.read(scope, headers, receive)
            payload, event = _v1_payload(served, body, headers, self._limits)
            parsed = perf_counter_ns()
            result, extra = await (pipeline.explain if explain else pipeline.predict)(payload, headers)
            inferred = perf_counter_ns()
            if event is not None:
                content, event_headers = event.answer(served.name, json_ready(result))
                parts, answer_headers = [content], _with([], event_headers)
            elif hasattr(result, "__aiter__"):
                parts, answer_headers = [result], [JSON]
            else:
                parts, answer_headers = [v1_body(result)], [JSON]
            rows = len(payload.get("instances", " "))  # a body of columns counts as one
            served.finished("v1", headers.get("x-request-id"), rows, (started, parsed, inferred, perf_counter_ns()))
            return parts, _with(answer_headers, extra) if extra else answer_headers

        return self._handler("v1", served, answer)

    def _handler(self, protocol: str, served: Served, answer: _Answerer) -> Handler:
        metrics, statistics = self._metrics.of(protocol), served.statistics

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            started = perf_counter_ns()
            status = 200
            try:
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
                parts, answer_headers = await answer(scope, headers, receive)
                if hasattr(parts[0], "__aiter__"):
                    status = await _send_stream(scope, send, parts[0], answer_headers)
                else:
                    if (accepted := headers.get("accept-encoding")) in ("gzip", "deflate"):
                        parts, answer_headers = await compressed(parts, answer_headers, accepted)
                    await send_parts(send, parts, answer_headers)
            except Exception as error:  # noqa: BLE001 - the process's one catch-all for HTTP: logged, counted, answered
                status = await send_error(scope, receive, send, error)
                statistics.failed(perf_counter_ns() - started)
            metrics.answered(status, (perf_counter_ns() - started) / 1e9)

        return handle


def _v2_request(served: Served, body: Body, headers: Headers, limits: RequestLimits) -> InferRequest:
    json_length = headers.get(_HEADER_LENGTH)
    if json_length is None:
        if not headers.get("content-type", "").startswith("image/"):
            return infer_request(body, None, served.name, served.version, limits)
    elif json_length != "0":
        # Into writable memory: models may work in place.
        own = body if isinstance(body, bytearray) else bytearray(body)
        return infer_request(own, json_length, served.name, served.version, limits)
    request = raw_request(body, served.input_types(), served.name, served.version, limits)
    if json_length is not None:
        request.parameters = {"binary_data_output": True}  # who sends no JSON reads none; an image's sender does
    return request


def _v1_payload(
    served: Served, body: Body, headers: Headers, limits: RequestLimits
) -> tuple[Any, cloudevents.Event | None]:
    content_type = headers.get("content-type", "")
    if content_type.startswith("image/"):
        if not body:
            raise InvalidInput("the body: expected an image file, found 0 bytes")
        file = bytes(body) if served.takes_bytes else base64.b64encode(body).decode()
        return {"instances": [{"b64": file}]}, None
    event = cloudevents.event_of(body, headers) if cloudevents.is_event(headers) else None
    payload = event.data if event else parse_object(body, limits)
    if not isinstance(payload, dict):
        raise InvalidInput(f"the event's data: expected a JSON object, found {kind(payload)}")
    if "instances" in payload:
        if type(payload["instances"]) is not list:
            raise InvalidInput(f"instances: expected a list, found {kind(payload['instances'])}")
    elif "inputs" not in payload:
        raise InvalidInput("the body: expected instances (a list of rows) or inputs, found neither")
    return payload, event


def _rows(request: InferRequest) -> int:
    shape = request.inputs[0].shape
    return shape[0] if shape else 1


def _with(headers: _HeaderList, extra: dict[str, str]) -> _HeaderList:
    """The model's own headers; length, type and connection are the server's to say."""
    ours = {name for name, _ in headers} | {b"content-length", b"connection", b"transfer-encoding"}
    added = [(str(name).lower().encode("latin-1"), str(value).encode("latin-1")) for name, value in extra.items()]
    return headers + [(name, value) for name, value in added if name not in ours]


async def _send_stream(scope: Scope, send: Send, stream: AsyncIterator[Any], headers: _HeaderList) -> int:
    """A model's answer piece by piece. If it fails in between, the connection is cut: the status is out already."""
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    try:
        async for piece in stream:
            body = piece if isinstance(piece, bytes) else str(piece).encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except Exception:  # noqa: BLE001 - the model's own code
        _log.exception("a streamed answer failed", extra={"path": scope["path"][:200]})
        return 500
    await send({"type": "http.response.body", "body": b""})
    return 200
