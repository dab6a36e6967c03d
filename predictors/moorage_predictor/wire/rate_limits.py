"""Who counts the calls to this predictor, over HTTP and over gRPC. Called by `wire/server.py` and `wire/grpc.py`, and by
`runtime` where there are several workers; without `--rate-limit` nothing of `moorage.access.limits` stands before a request.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from moorage.access.principal import ANONYMOUS, Principal
from moorage.api.predictor import PredictorSettings
from moorage.api.rate_limits import Operation
from moorage_predictor.errors import StartError

if TYPE_CHECKING:
    from moorage.access.asgi import App
    from moorage.access.limits.asgi import RateLimits
    from moorage.access.limits.metadata import Counted
    from moorage_predictor.metrics import Metrics

_NOT_COUNTED: Final = frozenset({"ServerLive", "ServerReady", "ModelReady"})
_TAKEN_IN: Final = 64 * 1024
"""Bytes of a body that a refused call may still send."""


def limits_of(settings: PredictorSettings, metrics: "Metrics") -> "Limits | None":
    """What counts calls, if there is any rule.

    Raises:
        StartError: a file cannot be read, or something that is needed is not installed.
    """
    if not settings.rate_limit:
        return None
    from moorage.access.errors import ConfigurationError

    try:
        return Limits(settings, metrics)
    except ConfigurationError as error:
        raise StartError(str(error)) from error


async def _refuse(scope: Any, receive: Any, send: Any, error: Exception) -> None:
    """A small body is taken in before, so that the connection can go on: who is told to wait shall not connect anew for each
    call."""
    from moorage_predictor.wire.http.answers import send_error

    sizes = [value for name, value in scope["headers"] if name == b"content-length"]
    if sizes and int(sizes[0]) <= _TAKEN_IN:
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            more = message["more_body"]
        scope["moorage.body_read"] = True
    await send_error(scope, receive, send, error)


@contextlib.contextmanager
def counting_for_workers(settings: PredictorSettings) -> Iterator[PredictorSettings]:
    """The settings of several workers whose limits are of all of them together: this process counts, or Redis."""
    if not settings.rate_limit:
        yield settings
    elif settings.rate_limit_redis_url_file is not None:
        yield settings.model_copy(update={"rate_limit_replicas": settings.rate_limit_replicas * settings.workers})
    else:
        from moorage.access.limits.workers import Counter

        counter = Counter()
        counter.start()
        try:
            changes = {"rate_limit_socket": counter.path, "rate_limit_replicas": settings.workers}
            yield settings.model_copy(update=changes)
        finally:
            counter.close()


class Limits:
    """Of one process."""

    def __init__(self, settings: PredictorSettings, metrics: "Metrics") -> None:
        from moorage.access.limits import build
        from moorage.access.limits.addresses import Addresses
        from moorage.access.limits.failure import Guarded
        from moorage.access.limits.limiter import Limiter
        from moorage.access.limits.metadata import Calls
        from moorage.access.limits.proof import HEADER, Proofs

        scope = settings.model_name if settings.model_repository is None else "repository"
        store = build.store(settings, scope)
        self._guarded = store if isinstance(store, Guarded) else None
        self._limiter = Limiter(settings.rate_rules, store, decided=metrics.rate_limited)
        self._addresses = Addresses(settings.trusted_proxies)
        secret = settings.counted_proof_secret_file
        self._proofs = None if secret is None else Proofs.from_file(secret, self._guarded)
        self._proof_header = HEADER.decode()
        self._calls = Calls(self._limiter, self._addresses, self._proofs)

    def counted(self, app: "App") -> "RateLimits":
        """The HTTP application, to which only those calls come that may be made."""
        from moorage.access.limits.asgi import RateLimits
        from moorage_predictor.wire.http.endpoints import routes

        return RateLimits(app, self._limiter, routes(), _refuse, self._addresses, self._proofs)

    async def count(self, method: str, context: Any, caller: Principal | None, model: str | None) -> "Counted | None":
        """Count a call over gRPC. What it returns, if anything, is to be told of a prediction of several rows.

        Raises:
            AccessError: the caller has made as many calls as it may.
        """
        if method in _NOT_COUNTED:
            return None
        operation: Operation = "predict" if method == "ModelInfer" else "manage"
        return await self._calls.count(context, caller or ANONYMOUS, operation, model)

    def without_proof(self, metadata: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Metadata as models get it."""
        return [pair for pair in metadata if pair[0] != self._proof_header]

    def start(self) -> None:
        """In the event loop that serves."""
        if self._guarded is not None:
            self._guarded.start()

    async def close(self) -> None:
        """At the end of the process."""
        if self._guarded is not None:
            await self._guarded.close()
