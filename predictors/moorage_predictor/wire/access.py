"""Which role each call to this predictor needs, and who checks it. Called by `wire/server.py` and `wire/grpc.py`; without
`--access-keys-...` or `--jwt-...` nothing of `moorage.access` stands before a request.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from moorage.access.errors import AccessError, Forbidden, StoreAway, Unauthenticated
from moorage.access.principal import ANONYMOUS, Principal, Role
from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import NotFound, StartError
from moorage_predictor.telemetry.record import CURRENT
from moorage_predictor.wire.http.types import Receive, Scope, Send

if TYPE_CHECKING:
    from moorage.access.asgi import Access, App
    from moorage.access.gate import Gate
    from moorage_predictor.wire.grpc_incoming import Incoming
    from moorage_predictor.wire.rate_limits import Limits

GRPC_ROLES: Final[dict[str, Role | None]] = {
    "ServerLive": None,
    "ServerReady": None,
    "ModelReady": None,
    "Check": None,
    "Watch": None,
    "ServerMetadata": "read",
    "ModelMetadata": "read",
    "ModelConfig": "read",
    "ModelStatistics": "read",
    "RepositoryIndex": "read",
    "TraceSetting": "read",
    "LogSettings": "read",
    "ModelInfer": "read-write",
    "RepositoryModelLoad": "admin",
    "RepositoryModelUnload": "admin",
}
"""None: open to all. The two settings need more for a change; see `Guarded`."""
_CHANGES: Final = ("TraceSetting", "LogSettings")


def gate_of(settings: PredictorSettings) -> "Gate | None":
    """What knows callers, if access is configured.

    Raises:
        StartError: keys cannot be read, or something that is needed is not installed.
    """
    if not settings.controls_access:
        return None
    from moorage.access.errors import ConfigurationError
    from moorage.access.gate import Gate

    try:
        return Gate(settings)
    except ConfigurationError as error:
        raise StartError(str(error)) from error


def guarded(app: "App", gate: "Gate") -> "Access":
    """The HTTP application behind the door."""
    from moorage.access.asgi import Access
    from moorage_predictor.wire.http.answers import send_error
    from moorage_predictor.wire.http.endpoints import routes

    async def refuse(scope: Scope, receive: Receive, send: Send, error: AccessError) -> None:
        gate.denied(error.code.lower())
        await send_error(scope, receive, send, error)

    return Access(app, gate, routes(), refuse)


def _noted(caller: Principal) -> Principal:
    """For the request's log line."""
    if (record := CURRENT.get()) is not None:
        record.caller = caller.id
    return caller


class Guarded:
    """The same for gRPC's methods."""

    def __init__(self, gate: "Gate", limits: "Limits | None" = None) -> None:
        from moorage.access.metadata import Door

        self.door = Door(gate)
        self._denied = gate.denied
        self._limits = limits

    async def infer_caller(self, context: Any) -> Principal:
        """Who wants a prediction."""
        return _noted(await self.door.caller(context.invocation_metadata(), "read-write"))

    def note(self, error: Exception) -> None:
        """Count it, if it says that the caller was turned away here."""
        if isinstance(error, (Unauthenticated, Forbidden, StoreAway)):
            self._denied(error.code.lower())

    def permit_model(self, caller: Principal, model: str) -> None:
        """Raises `Forbidden` where the model is none of the caller's."""
        if not caller.may_ask(model):
            self.door.permit(caller, "read-write", model)

    async def call(
        self,
        method: str,
        rpc: Callable[[Any, Any], Awaitable[Any]],
        parse: Callable[[bytes], Any],
        request: "bytes | Incoming",
        context: Any,
    ) -> Any:
        """Call the method, if its caller may. A stranger's message is not even parsed, and with grpcio not taken in."""
        role = GRPC_ROLES.get(method, "admin")
        caller = _noted(await self.door.caller(context.invocation_metadata(), role))
        message = parse(request if isinstance(request, bytes) else await request.read())
        if role is not None:
            if method in _CHANGES and message.settings:
                role = "admin"
            self.door.permit(caller, role, model_of(message))
        if self._limits is not None:
            await self._limits.count(method, context, caller, model_of(message))
        try:
            return await rpc(message, context)
        except NotFound:
            if caller is ANONYMOUS:
                raise NotFound("no such model here") from None  # else the message names those that are there
            raise


def model_of(message: Any) -> str | None:
    """The name in any of the service's messages."""
    for field in ("model_name", "name", "model_or_repository_name"):
        if found := getattr(message, field, ""):
            return str(found)
    return None
