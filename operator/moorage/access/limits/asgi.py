"""Counts requests over HTTP, and says so in each answer. Put by a server between `access.asgi.Access` and its application.

Access -> RateLimits -> application, which never sees a proof
             │  ├── counted already (a proof), or not counted at all: passed on
             │  └── room: passed on, with three headers on whatever is answered
             └── none: 429, before a byte of the body is read
"""

from collections.abc import Awaitable
from typing import Any

from moorage.access.asgi import ROUTE, App, Receive, Refuse, Scope, Send
from moorage.access.limits import COUNT_BATCH
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        route: Route | None = scope.get(ROUTE)
        if route is None:
            if scope["type"] != "http":
                await self._app(scope, receive, send)
                return
            route = self._routes.find(scope["method"], scope["path"])
        proofs = [value for name, value in scope["headers"] if name == HEADER]
        if proofs:  # goes no further, good or not, and whether or not there is a secret to verify it with
            scope["headers"] = [header for header in scope["headers"] if header[0] != HEADER]
        operation = route.operation
        if operation is None or (proofs and self._is_proven(scope, route, proofs)):
            await self._app(scope, receive, send)
            return
        peer, headers = scope["client"], scope["headers"]
        ip = self._addresses.client(peer[0] if peer else None, headers)
        principal: Principal = scope.get(PRINCIPAL) or ANONYMOUS
        limiter = self._limiter
        decision = limiter.take(principal, ip, operation, route.model)
        if decision is not None and not isinstance(decision, Decision):
            decision = await decision
        answer = _Answer(send, decision)
        if decision is not None and not decision.allowed:
            await self._refuse(scope, receive, send, refusal(decision))
            return
        if operation == "predict" and limiter.counts_batches(principal):
            scope[COUNT_BATCH] = _Batch(limiter, principal, ip, route.model, answer)
        await self._app(scope, receive, answer)

    def _is_proven(self, scope: Scope, route: Route, proofs: list[bytes]) -> bool:
        """Whether the gateway has counted the call."""
        ids = [value for name, value in scope["headers"] if name == REQUEST_ID]
        if self._proofs is None or len(proofs) != 1 or len(ids) != 1 or route.operation is None:
            return False
        return self._proofs.verify(proofs[0], ids[0].decode("latin-1"), route.model, route.operation) is not None


class _Answer:
    """`send`, with the headers of the decision that leaves the least."""

    __slots__ = ("_send", "decision")

    def __init__(self, send: Send, decision: Decision | None) -> None:
        self._send = send
        self.decision = decision

    def __call__(self, message: Any) -> Awaitable[None]:
        decision = self.decision
        if decision is not None and decision.allowed and message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *decision.headers()]
        return self._send(message)


class _Batch:
    """What stands under `COUNT_BATCH`."""

    __slots__ = ("_answer", "_ip", "_limiter", "_model", "_principal")

    def __init__(self, limiter: Limiter, principal: Principal, ip: str, model: str | None, answer: _Answer) -> None:
        self._limiter = limiter
        self._principal = principal
        self._ip = ip
        self._model = model
        self._answer = answer

    async def __call__(self) -> None:
        decision = self._limiter.take(self._principal, self._ip, "batch", self._model)
        if decision is not None and not isinstance(decision, Decision):
            decision = await decision
        self._answer.decision = tighter(self._answer.decision, decision)
        if decision is not None and not decision.allowed:
            raise refusal(decision)
