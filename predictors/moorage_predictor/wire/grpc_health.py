"""`grpc.health.v1.Health`, which Kubernetes' gRPC probes and gRPC's own clients ask: the same as `ServerReady` and `ModelReady`,
and open to all as they are. Made by `grpc.py`.

    Check ─────────────────> status
    Watch ── every _LOOK_S ─> status, whenever it is another ... NOT_SERVING and the end, once the server stops

The messages are grpcio-health-checking's, and imported with the first call: a process that nobody asks needs none. Its service is
not used: that one has to be told each status, and a model's own health is only known by asking.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, Final
from weakref import WeakKeyDictionary

from google.protobuf.message import DecodeError
from grpc import StatusCode

from moorage.api.oip import SERVICE as OUR_SERVICE
from moorage_predictor.errors import NotFound, RequestError
from moorage_predictor.wire.grpc_incoming import Incoming, small
from moorage_predictor.wire.repository import Repository
from moorage_predictor.wire.served import Served

SERVICE: Final = "grpc.health.v1.Health"
_LOOK_S: Final = 0.25
_MOST_WATCHES: Final = 64
"""At once, in this process: whoever asks needs no key, and each of them holds one of the calls that there may be. Who comes after
is told that there is no such method, and then takes the server for healthy; any other status would keep it away."""


class Health:
    """Of one server."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._watches = 0
        self._looks: WeakKeyDictionary[Served | Repository, tuple[float, asyncio.Task[bool]]] = WeakKeyDictionary()

    @staticmethod
    def parse(body: bytes) -> Any:
        """The request's message.

        Raises:
            DecodeError: these are other bytes.
        """
        return _messages().HealthCheckRequest.FromString(body)

    async def check(self, request: Any, context: Any) -> bytes:
        """Whether the server, or the model that is named, answers now.

        Raises:
            NotFound: there is no such model.
        """
        status = await self._status(request.service)
        if status == "SERVICE_UNKNOWN":
            raise NotFound("no such model here")  # which ones there are is for callers
        return _response(status)

    async def watch(self, request: bytes | Incoming, context: Any) -> AsyncGenerator[bytes, None]:
        """The same now, and whenever it changes."""
        try:
            service = self.parse(await small(request)).service
        except DecodeError:
            await context.abort(StatusCode.INVALID_ARGUMENT, "expected the call's own message, found other bytes")
        except RequestError as error:
            await context.abort(StatusCode[error.grpc], str(error))
        if self._watches >= _MOST_WATCHES:
            await context.abort(
                StatusCode.UNIMPLEMENTED, f"expected at most {_MOST_WATCHES} watches at once: use Check"
            )
        self._watches += 1
        try:
            told = ""
            while True:
                stops = self._repository.draining
                status = await self._status(service, shared=not stops)
                if status != told:
                    told = status
                    yield _response(status)
                if stops:
                    break
                await asyncio.sleep(_LOOK_S)
        finally:
            self._watches -= 1
        await context.abort(StatusCode.UNAVAILABLE, "the server is stopping")

    async def _status(self, service: str, *, shared: bool = False) -> str:
        """In the protocol's word. `shared`: as it was within the last `_LOOK_S`, if somebody has looked."""
        try:
            answers: Served | Repository = self._repository.find(service)
        except NotFound:
            if service not in ("", OUR_SERVICE):
                return "SERVICE_UNKNOWN"
            answers = self._repository
        return "SERVING" if await (self._look(answers) if shared else answers.is_ready()) else "NOT_SERVING"

    def _look(self, answers: Served | Repository) -> Awaitable[bool]:
        """Ask once for all who watch."""
        now = asyncio.get_running_loop().time()
        known = self._looks.get(answers)
        if known is None or (known[1].done() and now - known[0] >= _LOOK_S):
            known = self._looks[answers] = now, asyncio.create_task(answers.is_ready())
        return asyncio.shield(known[1])  # who goes away must not end it for the others


def _messages() -> Any:
    from grpc_health.v1 import health_pb2

    return health_pb2


def _response(status: str) -> bytes:
    answer: bytes = _messages().HealthCheckResponse(status=status).SerializeToString()
    return answer
