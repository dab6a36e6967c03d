"""The outermost layer over gRPC, around each method: the same as `http.Observed`. Called by `wire/grpc.py`."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from grpc import StatusCode, unary_unary_rpc_method_handler

from moorage_predictor.telemetry.observer import Observer
from moorage_predictor.telemetry.record import CURRENT, Record
from moorage_predictor.telemetry.request_ids import HEADER, request_id
from moorage_predictor.telemetry.request_log import plain

Rpc = Callable[[Any, Any], Awaitable[Any]]

_QUIET: Final = frozenset({"ServerLive", "ServerReady", "ModelReady"})
_NAMES: Final = {code.value[0]: code.name for code in StatusCode}


def observed(name: str, handler: Any, observer: Observer) -> Any:
    """The handler of a method that takes bytes; `name` is the service's for it."""
    return unary_unary_rpc_method_handler(
        _observed(name, handler.unary_unary, observer), response_serializer=handler.response_serializer
    )


def _observed(name: str, rpc: Rpc, observer: Observer) -> Rpc:

    async def call(request: Any, context: Any) -> Any:
        record = Record()
        CURRENT.set(record)
        given = trace = state = None
        for key, value in context.invocation_metadata() or ():
            if key == HEADER:
                given = value.encode("latin-1", "replace")
            elif key == "traceparent":
                trace = value.encode("latin-1", "replace")
            elif key == "tracestate":
                state = value.encode("latin-1", "replace")
        record.id = request_id(given)
        answered: tuple[tuple[str, str], ...] = ((HEADER, record.id),)
        if not observer.looks:
            context.set_trailing_metadata(answered)
            return await rpc(request, context)
        observer.begin(record, name, trace, state)
        if record.span is not None:
            answered = (*answered, *[(key.decode(), value.decode()) for key, value in record.answer_headers])
        context.set_trailing_metadata(answered)
        record.bytes_in = len(request)
        code = "CANCELLED"
        try:
            answer = await rpc(request, context)
            code, record.bytes_out = "OK", answer.ByteSize() if hasattr(answer, "ByteSize") else len(answer)
            return answer
        except Exception:
            code = _code(context)
            raise
        finally:
            failed, quiet = code != "OK", name in _QUIET
            if observer.wants(failed=failed, quiet=quiet):
                fields = {"rpc": name, "code": code, "bytes_in": record.bytes_in, "bytes_out": record.bytes_out}
                if record.caller:
                    fields["caller"] = plain(record.caller)
                if client := _address(context.peer()):
                    fields["client"] = client
                observer.end(record, fields, failed=failed, quiet=quiet)

    return call


def _code(context: Any) -> str:
    """What the call was ended with."""
    code = context.code()
    name: str = code.name if isinstance(code, StatusCode) else _NAMES.get(code, "UNKNOWN")
    return name


def _address(peer: str) -> str | None:
    """`ipv4:127.0.0.1:5000` -> `127.0.0.1`; behind the native server's door nobody is told it."""
    kind, _, rest = peer.partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else None
