"""The door of an ASGI application: who calls, and may they? Put by a server around everything that it answers.

    server -> Access -> (rate limits) -> application, which finds `scope["moorage.principal"]` and `scope["moorage.route"]`

It decides by method, `scope["path"]` and headers, before a byte of the body is read; and what has let a caller in goes no
further: neither models nor logs see the header.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from moorage.access.errors import AccessError
from moorage.access.gate import Gate
from moorage.access.principal import ANONYMOUS, PRINCIPAL, Principal
from moorage.access.routes import Route, Routes

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[object]]
Refuse = Callable[[Scope, Receive, Send, AccessError], Awaitable[object]]

ROUTE: Final = "moorage.route"
"""In a scope: the `routes.Route` that the request was judged by."""


class Access:
    """Lets known callers through."""

    def __init__(self, app: App, gate: Gate, routes: Routes, refuse: Refuse) -> None:
        """`refuse` answers in the shape of the server's errors."""
        self._app = app
        self._gate = gate
        self._routes = routes
        self._refuse = refuse

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[object]:
        """ASGI. No coroutine of its own: the calls of known callers go on in the application's."""
        if scope["type"] != "http":
            # A WebSocket has no route here: a server that gets no answer closes it.
            return self._app(scope, receive, send) if scope["type"] == "lifespan" else _nothing()
        route = scope[ROUTE] = self._routes.find(scope["method"], scope["path"])
        principal = self._gate.known(scope["headers"])
        if principal is None:
            return self._look(scope, receive, send, route)
        return self._judge(scope, receive, send, route, principal)

    async def _look(self, scope: Scope, receive: Receive, send: Send, route: Route) -> None:
        try:
            principal = await self._unknown(scope["headers"], needed=route.role is not None)
        except AccessError as error:
            await self._refuse(scope, receive, send, error)
            return
        await self._judge(scope, receive, send, route, principal)

    def _judge(
        self, scope: Scope, receive: Receive, send: Send, route: Route, principal: Principal
    ) -> Awaitable[object]:
        if (role := route.role) is not None and not (principal.models is None and principal.may(role)):
            try:
                self._gate.permit(principal, role, route.model)
            except AccessError as error:
                return self._refuse(scope, receive, send, error)
        scope[PRINCIPAL] = principal
        scope["headers"] = self._gate.without_credentials(scope["headers"])
        return self._app(scope, receive, _without_details(send) if principal is ANONYMOUS else send)

    async def _unknown(self, headers: list[tuple[bytes, bytes]], *, needed: bool) -> Principal:
        try:
            return await self._gate.authenticate(headers)
        except AccessError:
            if needed:
                raise
            return ANONYMOUS  # a probe with an old key is a probe


async def _nothing() -> None:
    pass


def _without_details(send: Send) -> Send:
    """What strangers get of an answer that is no success: its status. Why a model is not ready is for callers."""
    bare = False

    async def sent(message: MutableMapping[str, Any]) -> None:
        nonlocal bare
        if message["type"] == "http.response.start" and message["status"] >= 400:
            bare = True
            status = HTTPStatus(message["status"])
            body = json.dumps({"error": status.phrase, "code": status.name}).encode()
            kept = [header for header in message["headers"] if header[0] not in (b"content-type", b"content-length")]
            described = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({**message, "headers": kept + described})
            await send({"type": "http.response.body", "body": body, "more_body": True})
        elif bare and message["type"] == "http.response.body":
            await send({**message, "body": b""})
        else:
            await send(message)

    return sent
