"""The outermost layer over HTTP: every answer gets its request's id, whoever gives it. Made by `wire/server.py`.

uvicorn -> Observed -> (access, rate limits) -> App
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from moorage.access.principal import PRINCIPAL
from moorage_predictor.telemetry.observer import Observer
from moorage_predictor.telemetry.record import CURRENT, Record
from moorage_predictor.telemetry.request_ids import HEADER, request_id
from moorage_predictor.telemetry.request_log import plain

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]

_ID: Final = HEADER.encode()
_CLIENT_GONE: Final = 499
_QUIET: Final = frozenset({"/", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Asked every few seconds by machines."""


class Observed:
    """Around a process's application."""

    def __init__(self, app: App, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """ASGI."""
        record = Record()
        CURRENT.set(record)
        given = trace = state = length = None
        for name, value in scope["headers"]:
            if name == _ID:
                given = value
            elif name == b"traceparent":
                trace = value.decode("latin-1")
            elif name == b"tracestate":
                state = value.decode("latin-1")
            elif name == b"content-length":
                length = value
        record.id = request_id(given)
        added: tuple[tuple[bytes, bytes], ...] = ((_ID, record.id.encode()),)
        observer = self._observer
        if not observer.looks:

            def sending(message: Message) -> Awaitable[None]:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], *added]
                return send(message)

            await self._app(scope, receive, sending)
            return

        observer.begin(record, scope["method"], trace, state)
        if record.span is not None:
            added = (*added, *record.answer_headers)
        if length is not None:
            record.bytes_in = int(length)
        elif scope["method"] not in ("GET", "HEAD"):
            receive = _counted(receive, record)
        status = _CLIENT_GONE

        def watched(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *added]
            else:
                record.bytes_out += len(message["body"])
            return send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._end(scope, record, status)

    def _end(self, scope: Scope, record: Record, status: int) -> None:
        path, method = scope["path"], scope["method"]
        principal, client = scope.get(PRINCIPAL), scope.get("client")
        fields = {
            "method": method,
            "route": template(record.protocol, path),
            "path": None if record.protocol else plain(path),
            "status": status,
            "bytes_in": record.bytes_in,
            "bytes_out": record.bytes_out,
            "caller": plain(principal.id) if principal is not None else None,
            "client": client[0] if client else None,
        }
        quiet = method in ("GET", "HEAD") and (path in _QUIET or path.endswith("/ready"))
        self._observer.end(record, fields, failed=status >= 400, quiet=quiet)


def template(protocol: str, path: str) -> str | None:
    """The route of a prediction, without names."""
    if protocol == "v2":
        return "/v2/models/{name}/versions/{version}/infer" if "/versions/" in path else "/v2/models/{name}/infer"
    if protocol == "v1":
        return "/v1/models/{name}:explain" if path.endswith(":explain") else "/v1/models/{name}:predict"
    return None


def _counted(receive: Callable[[], Awaitable[Message]], record: Record) -> Callable[[], Awaitable[Message]]:
    """Of a body that comes in chunks."""

    async def counted() -> Message:
        message = await receive()
        record.bytes_in += len(message.get("body", b""))
        return message

    return counted
