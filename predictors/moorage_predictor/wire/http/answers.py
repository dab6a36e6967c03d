"""Answers over HTTP: bytes, JSON, or an error as `{"error": text, "code": code}`. The one place where errors become answers."""

import logging
from collections.abc import Iterable
from typing import Any, Final

import orjson

from moorage.access.errors import AccessError
from moorage_predictor.errors import MethodNotAllowed, RequestError
from moorage_predictor.wire.http.types import Receive, Scope, Send

_log = logging.getLogger(__name__)

JSON: Final = (b"content-type", b"application/json")
_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_CLOSE: Final = (b"connection", b"close")
_JOIN_BELOW: Final = 64 * 1024
"""Small parts are sent as one; copying large ones would cost more than another write."""
CLIENT_GONE: Final = 499
"""For the metrics; nobody is there to read it."""


class ClientGoneError(Exception):
    """The connection closed before the request was whole, or before it was answered."""

    def __init__(self, status: int = CLIENT_GONE) -> None:
        super().__init__()
        self.status = status


async def send_parts(send: Send, parts: list[Any], headers: Iterable[tuple[bytes, bytes]], status: int = 200) -> None:
    """A whole answer. `parts` are bytes or views of them."""
    size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % size)],
        }
    )
    if len(parts) > 1 and size <= _JOIN_BELOW:
        parts = [b"".join(parts)]
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1]})


async def send_json(send: Send, content: Any, status: int = 200) -> None:
    """An object of ours."""
    await send_parts(send, [orjson.dumps(content, option=_OPTIONS)], (JSON,), status)


def error_body(text: str, code: str) -> bytes:
    """What every error's body is."""
    return orjson.dumps({"error": text, "code": code}, default=str)


async def send_error(scope: Scope, receive: Receive, send: Send, error: Exception) -> int:
    """Answer with the error; returns the status. What is not ours says `internal error`, and the log has the rest."""
    if isinstance(error, ClientGoneError):
        return error.status
    added: Iterable[tuple[bytes, bytes]] = ()
    if isinstance(error, RequestError):
        status, body = error.status, error_body(str(error), error.code)
    elif isinstance(error, AccessError):
        status, body = error.status, error_body(str(error), error.code)
        added = error.headers
    else:
        _log.error("request failed", extra={"path": scope["path"][:200]}, exc_info=error)
        status, body = 500, error_body("internal error", "INTERNAL")
    headers = [JSON, *added]
    if status == 503 and not added:
        headers.append((b"retry-after", b"%d" % getattr(error, "retry_after_s", 1)))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allowed.encode()))
    if scope.get("moorage.body_read") or scope["method"] in ("GET", "HEAD"):
        await send_parts(send, [body], headers, status)
    else:
        await _send_and_linger(receive, send, body, [*headers, _CLOSE], status)
    return status


async def _send_and_linger(
    receive: Receive, send: Send, body: bytes, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    """Answer before the body is read, and take in the rest of it for a while: if the connection closed at once, the
    reset would reach a client that is still sending before it reads why."""
    from moorage_predictor.wire.http.body import discard

    await send(
        {"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await discard(receive)
    await send({"type": "http.response.body", "body": b""})
