"""Counts requests over HTTP, and says so in each answer. Put by a server between `access.asgi.Access` and its application.

Access -> RateLimits -> application, which never sees a proof
             │  ├── counted already (a proof), or not counted at all: passed on
             │  └── room: passed on, with three headers on whatever is answered
             └── none: 429, before a byte of the body is read
"""

from collections.abc import Awaitable
from typing import Any

from moorage.access.asgi import ROUTE, App, Receive, Refuse, Scope, Send
from moorage.access.limits import ADDED, COUNT_BATCH
from moorage.access.limits.addresses import Addresses
from moorage.access.limits.decision import Decision, refusal, tighter
from moorage.access.limits.limiter import Limiter
from moorage.access.limits.proof import HEADER, REQUEST_ID, Proofs
from moorage.access.principal import ANONYMOUS, PRINCIPAL, Principal
from moorage.access.routes import Route, Routes


class RateLimits:
    """Of one server."""

    def __init__(
        self, app: App, limiter: Limiter, routes: Routes, refuse: Refuse, addresses: Addresses, proofs: Proofs | None
    ) -> None:
        """`routes` serve where `Access` is not, and `refuse` answers in the shape of the server's errors."""
        self._app = app
        self._limiter = limiter
        self._routes = routes
        self._refuse = refuse
        self._addresses = addresses
        self._proofs = proofs

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[object]:
        """ASGI. No coroutine of its own: what is counted in memory goes on in the application's."""
        route: Route | None = scope.get(ROUTE)
        if route is None:
            if scope["type"] != "http":
                return self._app(scope, receive, send)
            route = self._routes.find(scope["method"], scope["path"])
        headers = scope["headers"]
        operation = route.operation
        for header in headers:
            if header[0] == HEADER:
                proven = self._is_proven(scope, route)
                if proven:
                    operation = None
                # Goes no further, good or not, and whether or not there is a secret to verify it with.
                scope["headers"] = [one for one in headers if one[0] != HEADER]
                if proven and self._proofs is not None and self._proofs.asks_others:
                    return self._once(scope, receive, send, self._proofs)
                break
        if operation is None:
            return self._app(scope, receive, send)
        peer = scope["client"]
        ip = self._addresses.client(peer[0] if peer else None, headers)
        decision = self._limiter.take(scope.get(PRINCIPAL, ANONYMOUS), ip, operation, route.model)
        if decision is None or isinstance(decision, Decision):
            return self._decided(scope, receive, send, route, ip, decision)
        return self._later(scope, receive, send, route, ip, decision)

    async def _once(self, scope: Scope, receive: Receive, send: Send, proofs: Proofs) -> None:
        """Of a good proof, which perhaps another process has seen. The header is gone: without it the call is counted."""
        [request_id] = [value for name, value in scope["headers"] if name == REQUEST_ID]
        if await proofs.is_first(request_id.decode("latin-1")):
            await self._app(scope, receive, send)
        else:
            await self(scope, receive, send)

    async def _later(
        self, scope: Scope, receive: Receive, send: Send, route: Route, ip: str, pending: Awaitable[Decision | None]
    ) -> None:
        await self._decided(scope, receive, send, route, ip, await pending)

    def _decided(
        self, scope: Scope, receive: Receive, send: Send, route: Route, ip: str, decision: Decision | None
    ) -> Awaitable[object]:
        if decision is not None and not decision.allowed:
            return self._refuse(scope, receive, send, refusal(decision))
        headers = scope.get(ADDED)
        if headers is None:
            headers = []
            send = _Answer(send, headers)
        if decision is not None:
            headers += decision.headers()
        principal: Principal = scope.get(PRINCIPAL, ANONYMOUS)
        limiter = self._limiter
        if (
            route.operation == "predict"
            and (limiter.speaks_of_batches or principal.limits)
            and limiter.counts_batches(principal)
        ):
            scope[COUNT_BATCH] = _Batch(limiter, principal, ip, route.model, decision, headers)
        return self._app(scope, receive, send)

    def _is_proven(self, scope: Scope, route: Route) -> bool:
        """Whether the gateway has counted the call."""
        proofs = [value for name, value in scope["headers"] if name == HEADER]
        ids = [value for name, value in scope["headers"] if name == REQUEST_ID]
        if self._proofs is None or len(proofs) != 1 or len(ids) != 1 or route.operation is None:
            return False
        return self._proofs.verify(proofs[0], ids[0].decode("latin-1"), route.model, route.operation) is not None


class _Answer:
    """`send`, with headers more on whatever is answered."""

    __slots__ = ("_headers", "_send")

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers

    def __call__(self, message: Any) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *self._headers]
        return self._send(message)


class _Batch:
    """What stands under `COUNT_BATCH`."""

    __slots__ = ("_decision", "_headers", "_ip", "_limiter", "_model", "_principal")

    def __init__(
        self,
        limiter: Limiter,
        principal: Principal,
        ip: str,
        model: str | None,
        decision: Decision | None,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        """`headers` are those of the answer, by the decision so far."""
        self._limiter = limiter
        self._principal = principal
        self._ip = ip
        self._model = model
        self._decision = decision
        self._headers = headers

    async def __call__(self) -> None:
        decision = self._limiter.take(self._principal, self._ip, "batch", self._model)
        if decision is not None and not isinstance(decision, Decision):
            decision = await decision
        self._headers.clear()
        if decision is not None and not decision.allowed:
            raise refusal(decision)  # which has headers of its own
        self._decision = tighter(self._decision, decision)
        if self._decision is not None:
            self._headers += self._decision.headers()
