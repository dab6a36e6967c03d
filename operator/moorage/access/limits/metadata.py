"""Counts calls over gRPC, and says so in their trailing metadata. Called by a service's methods, because neither of the two
servers shows an interceptor the message, which has the model's name.
"""

from typing import Any

from moorage.access.limits.addresses import FORWARDED_FOR, Addresses, host_of_call
from moorage.access.limits.decision import Decision, refusal, tighter
from moorage.access.limits.limiter import Limiter
from moorage.access.limits.proof import HEADER, REQUEST_ID, Proofs
from moorage.access.principal import Principal
from moorage.api.rate_limits import Operation

_PROOF, _ID, _FORWARDED = HEADER.decode(), REQUEST_ID.decode(), FORWARDED_FOR.decode()


class Calls:
    """Of one service. A `context` is a call's, of either server."""

    def __init__(self, limiter: Limiter, addresses: Addresses, proofs: Proofs | None) -> None:
        self.limiter = limiter
        self._addresses = addresses
        self._proofs = proofs

    async def count(
        self, context: Any, principal: Principal, operation: Operation, model: str | None
    ) -> "Counted | None":
        """Count a call. What it returns, if anything, is to be told when the call turns out to be a batch.

        Raises:
            RateLimited, LimitsAway: it may not be made.
        """
        metadata = context.invocation_metadata() or ()
        if self._proofs is not None and await self._is_proven(self._proofs, metadata, operation, model):
            return None
        forwarded = [(FORWARDED_FOR, value.encode()) for name, value in metadata if name == _FORWARDED]
        ip = self._addresses.client(host_of_call(context.peer(), metadata), forwarded)
        counted = Counted(self.limiter, context, principal, ip, model)
        await counted.take(operation)
        return counted if operation == "predict" and self.limiter.counts_batches(principal) else None

    async def _is_proven(self, proofs: Proofs, metadata: Any, operation: Operation, model: str | None) -> bool:
        given = [value for name, value in metadata if name == _PROOF]
        ids = [value for name, value in metadata if name == _ID]
        if len(given) != 1 or len(ids) != 1 or proofs.verify(given[0].encode(), ids[0], model, operation) is None:
            return False
        return await proofs.is_first(ids[0])


class Counted:
    """One call."""

    __slots__ = ("_context", "_decision", "_ip", "_limiter", "_model", "_principal")

    def __init__(self, limiter: Limiter, context: Any, principal: Principal, ip: str, model: str | None) -> None:
        self._limiter = limiter
        self._context = context
        self._principal = principal
        self._ip = ip
        self._model = model
        self._decision: Decision | None = None

    async def take(self, operation: Operation) -> None:
        """Count it for one operation.

        Raises:
            RateLimited, LimitsAway: it may not be made.
        """
        decision = self._limiter.take(self._principal, self._ip, operation, self._model)
        if decision is not None and not isinstance(decision, Decision):
            decision = await decision
        if decision is None:
            return
        self._decision = tightest = tighter(self._decision, decision)
        if tightest is not None:
            told = tightest.metadata()
            names = {name for name, _ in told}
            others = [pair for pair in self._context.trailing_metadata() or () if pair[0] not in names]
            self._context.set_trailing_metadata((*others, *told))
        if not decision.allowed:
            raise refusal(decision)
