"""The hot path over HTTP: V1 `:predict` and `:explain`, V2 `infer`. Handlers are made once for each model and for each of
its versions by `app.py`.

bytes -> body -> version -> decode -> pipeline -> encode -> bytes; one parse, one serialisation. Which version answers is
settled once, when the body is there, so that no answer is made of two.
"""

import asyncio
import base64
import logging
import re
from collections.abc import AsyncGenerator
from time import perf_counter_ns
from typing import Any, Final, Literal, Protocol

from moorage.access.limits import COUNT_BATCH
from moorage.api.limits import RequestLimits
from moorage_predictor.errors import InvalidInput, ModelFault
from moorage_predictor.telemetry.record import CURRENT
from moorage_predictor.wire import cloudevents
from moorage_predictor.wire.decode import PARSE_HERE, infer_request, is_batch, parse_object, raw_request, rows_of
from moorage_predictor.wire.encode import infer_response
from moorage_predictor.wire.http.answers import CLIENT_GONE, JSON, send_error, send_parts
from moorage_predictor.wire.http.body import Body, BodyReader
from moorage_predictor.wire.http.compression import compressed
from moorage_predictor.wire.http.types import ANSWERED_BY, GONE, SERVED, Handler, Headers, Receive, Scope, Send
from moorage_predictor.wire.json_answers import dumps, json_ready, v1_body
from moorage_predictor.wire.messages import InferRequest, InferResponse, Types
from moorage_predictor.wire.repository import Route
from moorage_predictor.wire.served import Served
from moorage_predictor.wire.tensor import kind
from moorage_predictor.wire.urgency import urgency

_log = logging.getLogger(__name__)

_HEADER_LENGTH: Final = "inference-header-content-length"
_BINARY: Final = (b"content-type", b"application/octet-stream")
_SERVERS_OWN: Final = frozenset(
    {
        b"connection",
        b"content-encoding",
        b"content-length",
        b"date",
        _HEADER_LENGTH.encode(),
        b"transfer-encoding",
        # What callers send and no answer has: a model that answers with the headers that it was given must not show them.
        b"authorization",
        b"cookie",
        b"proxy-authorization",
        b"x-api-key",
        b"x-request-id",
    }
)
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HeaderList = list[tuple[bytes, bytes]]


class _Answerer(Protocol):
    async def __call__(self, scope: Scope, headers: Headers, receive: Receive) -> tuple[list[Any], _HeaderList]: ...


class Inference:
    """Makes the handlers of one process's models."""

    def __init__(self, limits: RequestLimits, bodies: BodyReader) -> None:
        self._limits = limits
        self._bodies = bodies

    def infer(self, route: Route) -> Handler:
        """`POST /v2/models/NAME[/versions/VERSION]/infer`."""
        limits, bodies = self._limits, self._bodies

        async def answer(scope: Scope, headers: Headers, receive: Receive) -> tuple[list[Any], _HeaderList]:
            started, arrived = perf_counter_ns(), asyncio.get_running_loop().time()
            # Before the body is read, and again below: meanwhile others came, or the model went.
            route.expect()
            body = await bodies.read(scope, headers, receive)
            served = scope[SERVED] = route.newest
            if (pipeline := served.pipeline) is None:
                served = scope[SERVED] = await route.wake(urgency(headers, arrived=arrived).deadline)
                pipeline = served.admit()
            types = pipeline.types
            if len(body) > PARSE_HERE:
                with served.held():
                    request = await asyncio.to_thread(_v2_request, served, body, headers, limits, types)
            else:
                request = _v2_request(served, body, headers, limits, types)
            rows, parsed, inferred = rows_of(request), perf_counter_ns(), 0
            if COUNT_BATCH in scope and is_batch(request):
                with served.held():
                    await scope[COUNT_BATCH]()
            pipeline, described = served.admit(), served.described

            def encode(result: Any) -> tuple[list[Any], int | None]:
                nonlocal inferred
                inferred = perf_counter_ns()
                if isinstance(result, InferResponse):
                    parts, json_length = infer_response(request, result, served.version, described.labels)
                    # The transport may send a view when the model has long written over it.
                    return parts if described.fresh_outputs else [bytes(part) for part in parts], json_length
                if isinstance(result, dict):  # a model that answers in the protocol's own words
                    return [dumps(result)], None
                raise ModelFault(f"the model {served.name} gave no V2 answer")

            (parts, json_length), extra = await pipeline.predict(request, headers, encode, arrived)
            served.finished("v2", request.id, rows, (started, parsed, inferred, perf_counter_ns()))
            answer_headers = (
                [JSON] if json_length is None else [_BINARY, (_HEADER_LENGTH.encode(), b"%d" % json_length)]
            )
            return parts, _with(answer_headers, extra) if extra else answer_headers

        return self._handler("v2", route, answer)

    def predict(self, route: Route) -> Handler:
        """`POST /v1/models/NAME:predict`."""
        return self._v1(route, explain=False)

    def explain(self, route: Route) -> Handler:
        """`POST /v1/models/NAME:explain`."""
        return self._v1(route, explain=True)

    def _v1(self, route: Route, *, explain: bool) -> Handler:
        async def answer(scope: Scope, headers: Headers, receive: Receive) -> tuple[list[Any], _HeaderList]:
            started, arrived = perf_counter_ns(), asyncio.get_running_loop().time()
            route.expect()
            body = await self._bodies.read(scope, headers, receive)
            served = scope[SERVED] = route.newest
            if served.pipeline is None:
                served = scope[SERVED] = await route.wake(urgency(headers, arrived=arrived).deadline)
            payload, event = _v1_payload(served, body, headers, self._limits)
            rows = len(payload.get("instances", " "))  # a body of columns counts as one
            if COUNT_BATCH in scope and (rows > 1 or _columns(payload) > 1):
                with served.held():
                    await scope[COUNT_BATCH]()
            parsed, inferred = perf_counter_ns(), 0
            pipeline = served.admit()

            def encode(result: Any) -> tuple[Any, _HeaderList]:
                nonlocal inferred
                inferred = perf_counter_ns()
                if event is not None:
                    content, event_headers = event.answer(served.name, json_ready(result))
                    return content, _with([], event_headers)
                return (pipeline.pieces(result) if hasattr(result, "__aiter__") else v1_body(result)), [JSON]

            work = pipeline.explain if explain else pipeline.predict
            (part, answer_headers), extra = await work(payload, headers, encode, arrived)
            served.finished("v1", headers.get("x-request-id"), rows, (started, parsed, inferred, perf_counter_ns()))
            return [part], _with(answer_headers, extra) if extra else answer_headers

        return self._handler("v1", route, answer)

    def _handler(self, protocol: Literal["v1", "v2"], route: Route, answer: _Answerer) -> Handler:

        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            started = perf_counter_ns()
            status, counted = 200, False
            scope[ANSWERED_BY] = asyncio.current_task()
            try:
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
                parts, answer_headers = await answer(scope, headers, receive)
                if hasattr(parts[0], "__aiter__"):
                    status = await _send_stream(scope, receive, send, parts[0], answer_headers)
                else:
                    if (accepted := headers.get("accept-encoding")) in ("gzip", "deflate"):
                        parts, answer_headers = await compressed(parts, answer_headers, accepted)
                    # Before it leaves: who has an answer finds it counted, whatever becomes of this process then.
                    count(scope, status, started)
                    counted = True
                    await send_parts(send, parts, answer_headers)
            except Exception as error:  # noqa: BLE001 - the process's one catch-all for HTTP: logged, counted, answered
                del scope[ANSWERED_BY]  # nothing is computed any more; a client that goes now ends the rest by itself
                status = await send_error(scope, receive, send, error)
                (scope.get(SERVED) or route.newest).statistics.failed(perf_counter_ns() - started)
            except asyncio.CancelledError:
                if GONE not in scope:
                    raise
                status = scope.get("moorage.status", CLIENT_GONE)
            finally:
                if "moorage.held" in scope:
                    self._bodies.release(scope)
            if not counted:
                count(scope, status, started)

        def count(scope: Scope, status: int, started: int) -> None:
            served: Served = scope.get(SERVED) or route.newest
            if (record := CURRENT.get()) is not None:
                record.of(protocol, served.name, served.version)
            metrics = served.metrics.v2 if protocol == "v2" else served.metrics.v1
            metrics.answered(status, (perf_counter_ns() - started) / 1e9)

        return handle


def _v2_request(served: Served, body: Body, headers: Headers, limits: RequestLimits, types: Types) -> InferRequest:
    json_length = headers.get(_HEADER_LENGTH)
    if json_length is None:
        if not headers.get("content-type", "").startswith("image/"):
            return infer_request(body, None, served.name, served.version, limits, types)
    elif json_length != "0":
        # Into writable memory: models may work in place.
        own = body if isinstance(body, bytearray) else bytearray(body)
        return infer_request(own, json_length, served.name, served.version, limits, types)
    request = raw_request(body, served.input_types(), served.name, served.version, limits, types)
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
    event = cloudevents.event_of(body, headers, limits) if cloudevents.is_event(headers) else None
    payload = event.data if event else parse_object(body, limits)
    if not isinstance(payload, dict):
        raise InvalidInput(f"the event's data: expected a JSON object, found {kind(payload)}")
    if "instances" in payload:
        if type(payload["instances"]) is not list:
            raise InvalidInput(f"instances: expected a list, found {kind(payload['instances'])}")
    elif "inputs" not in payload:
        raise InvalidInput("the body: expected instances (a list of rows) or inputs, found neither")
    return payload, event


def _columns(payload: dict[str, Any]) -> int:
    """Rows of a body of columns, as far as they can be told without its model: the longest list, in objects of any depth."""
    rows, left = 1, [payload.get("inputs")]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list) and len(value) > rows:
            rows = len(value)
    return rows


def _with(headers: _HeaderList, extra: dict[str, str]) -> _HeaderList:
    """The model's own headers as well, save for those that are the server's to say.

    Raises:
        ModelFault: one that HTTP cannot carry.
    """
    ours = {name for name, _ in headers} | _SERVERS_OWN
    added: _HeaderList = []
    for name, value in extra.items():
        key = str(name).lower().encode("latin-1", "replace")
        text = str(value).encode("latin-1", "replace")
        if not _TOKEN.fullmatch(key) or _CONTROL.search(text):
            raise ModelFault("a response header of the model is none that HTTP can carry")
        if key not in ours:
            added.append((key, text))
    return headers + added


async def _send_stream(
    scope: Scope, receive: Receive, send: Send, pieces: AsyncGenerator[Any, None], headers: _HeaderList
) -> int:
    """A model's answer piece by piece. What fails before the first is answered as anything else; later the connection is
    cut, because the status is out. A client that goes ends it."""
    piece = await anext(pieces, None)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    gone = asyncio.ensure_future(receive())
    try:
        while piece is not None and not gone.done():
            body = piece if isinstance(piece, bytes) else str(piece).encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            piece = await anext(pieces, None)
    except Exception:  # noqa: BLE001 - the model's own code
        _log.exception("a streamed answer failed", extra={"path": scope["path"][:200]})
        return 500
    finally:
        gone.cancel()
        await pieces.aclose()
    await send({"type": "http.response.body", "body": b""})
    return 200
