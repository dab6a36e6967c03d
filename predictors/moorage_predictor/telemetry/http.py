"""The outermost layer over HTTP: every answer gets its request's id, whoever gives it. Made by `wire/server.py`.

uvicorn -> Observed -> (access, rate limits) -> App
"""

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter_ns
from typing import Any, Final

from moorage.access.limits import ADDED
from moorage.access.principal import PRINCIPAL
from moorage_predictor.telemetry.observer import Observer
from moorage_predictor.telemetry.record import CURRENT, Record
from moorage_predictor.telemetry.request_ids import HEADER, request_id
from moorage_predictor.telemetry.request_log import Common, plain

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[object]]

_ID: Final = HEADER.encode()
_CLIENT_GONE: Final = 499
_QUIET: Final = frozenset({"/", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Asked every few seconds by machines."""


_MOST_KNOWN: Final = 1024
_LONGEST_KNOWN: Final = 256
"""Of what stands the same in many lines; more comes only from those who make paths up."""
_Key = tuple[str, str, str | None, str | None, str, str]
"""Method, path, caller, client's address, model, version."""


class Observed:
    """Around a process's application."""

    def __init__(self, app: App, observer: Observer) -> None:
        self._app = app
        self._observer = observer
        self._common: dict[_Key, Common] = {}

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """ASGI."""
        record = Record()
        CURRENT.set(record)
        headers = dict(scope["headers"])
        record.id = request_id(headers.get(_ID))
        own: tuple[tuple[bytes, bytes], ...] = ((_ID, record.id.encode()),)
        added: list[tuple[bytes, bytes]] = []
        scope[ADDED] = added
        observer = self._observer
        if not observer.looks:

            def sending(message: Message) -> Awaitable[None]:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], *own, *added]
                return send(message)

            await self._app(scope, receive, sending)
            return

        record.began = perf_counter_ns()
        if observer.traced or b"traceparent" in headers:
            observer.begin(record, scope["method"], headers.get(b"traceparent"), headers.get(b"tracestate"))
            own = (*own, *record.answer_headers)
        if (length := headers.get(b"content-length")) is not None:
            record.bytes_in = int(length)
        elif scope["method"] not in ("GET", "HEAD"):
            receive = _counted(receive, record)
        status = _CLIENT_GONE

        def watched(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *own, *added]
            else:
                record.bytes_out += len(message["body"])
            return send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._end(scope, record, status)

    def _end(self, scope: Scope, record: Record, status: int) -> None:
        path, method, failed = scope["path"], scope["method"], status >= 400
        quiet = method in ("GET", "HEAD") and (path in _QUIET or path.endswith("/ready"))
        if not self._observer.wants(failed=failed, quiet=quiet):
            return
        principal, client = scope.get(PRINCIPAL), scope.get("client")
        key = (method, path, principal and principal.id, client and client[0], record.model, record.version)
        common = self._common.get(key)
        if common is None:
            common = self._remembered(key, record)
        fields = {"status": status, "bytes_in": record.bytes_in, "bytes_out": record.bytes_out}
        self._observer.end(record, common, fields, failed=failed, quiet=quiet)

    def _remembered(self, key: _Key, record: Record) -> Common:
        method, path, caller, client, model, version = key
        fields = {"method": method}
        if record.protocol:
            fields["route"] = template(record.protocol, path)
        else:
            fields["path"] = plain(path)
        if caller is not None:
            fields["caller"] = plain(caller)
        if client:
            fields["client"] = client
        if record.protocol:
            fields |= {"protocol": record.protocol, "model": model, "version": version}
        common = Common.of(fields)
        if len(path) <= _LONGEST_KNOWN:
            if len(self._common) >= _MOST_KNOWN:
                self._common.clear()
            self._common[key] = common
        return common


def template(protocol: str, path: str) -> str:
    """The route of a prediction over v1 or v2, without names."""
    if protocol == "v2":
        return "/v2/models/{name}/versions/{version}/infer" if "/versions/" in path else "/v2/models/{name}/infer"
    return "/v1/models/{name}:explain" if path.endswith(":explain") else "/v1/models/{name}:predict"


def _counted(receive: Callable[[], Awaitable[Message]], record: Record) -> Callable[[], Awaitable[Message]]:
    """Of a body that comes in chunks."""

    async def counted() -> Message:
        message = await receive()
        record.bytes_in += len(message.get("body", b""))
        return message

    return counted
