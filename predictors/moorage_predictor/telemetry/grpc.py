"""The outermost layer over gRPC, around each method: the same as `http.Observed`. Called by `wire/grpc.py`."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from typing import Any, Final

from grpc import StatusCode

from moorage_predictor.telemetry.observer import Observer
from moorage_predictor.telemetry.record import CURRENT, Record
from moorage_predictor.telemetry.request_ids import HEADER, request_id
from moorage_predictor.telemetry.request_log import Common, plain

Rpc = Callable[[Any, Any], Awaitable[Any]]

_QUIET: Final = frozenset({"ServerLive", "ServerReady", "ModelReady", "Check"})
_NAMES: Final = {code.value[0]: code.name for code in StatusCode}
_LATE_S: Final = 0.02
"""Of a client's last word."""


def observed(name: str, rpc: Rpc, observer: Observer) -> Rpc:
    """A method whose request has its bytes for its length; `name` is the service's for it."""
    from moorage.access.limits.addresses import host_of_call

    async def call(request: Any, context: Any) -> Any:
        record = Record()
        CURRENT.set(record)
        given = trace = state = None
        metadata = context.invocation_metadata() or ()
        for key, value in metadata:
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
        record.began = perf_counter_ns()
        peer = context.peer()  # grpcio has forgotten it once a call is cancelled
        observer.begin(record, name, trace, state)
        if record.span is not None:
            answered = (*answered, *[(key.decode(), value.decode()) for key, value in record.answer_headers])
        context.set_trailing_metadata(answered)
        code = "CANCELLED"
        try:
            answer = await rpc(request, context)
            code, record.bytes_out = "OK", answer.ByteSize() if hasattr(answer, "ByteSize") else len(answer)
            return answer
        except asyncio.CancelledError:
            code = why_cancelled(context, (perf_counter_ns() - record.began) / 1e9).name
            raise
        except Exception:
            code = _code(context)
            raise
        finally:
            failed, quiet = code != "OK", name in _QUIET
            if observer.wants(failed=failed, quiet=quiet):
                record.bytes_in = len(request)
                common = {"rpc": name}
                if record.caller:
                    common["caller"] = plain(record.caller)
                if client := host_of_call(peer, metadata):
                    common["client"] = client
                if record.protocol:
                    common |= {"protocol": record.protocol, "model": record.model, "version": record.version}
                fields = {"code": code, "bytes_in": record.bytes_in, "bytes_out": record.bytes_out}
                observer.end(record, Common.of(common), fields, failed=failed, quiet=quiet)

    return call


def why_cancelled(context: Any, seconds: float) -> StatusCode:
    """Of a call that was cancelled after so long: its deadline passed, or its caller left. A client tells its deadline rounded
    up, by a hundredth at most, and lets the call go when its own has passed: a little before it passes here."""
    left = context.time_remaining()
    passed = left is not None and left <= _LATE_S + (seconds + left) / 100
    return StatusCode.DEADLINE_EXCEEDED if passed else StatusCode.CANCELLED


def _code(context: Any) -> str:
    """What the call was ended with."""
    code = context.code()
    name: str = code.name if isinstance(code, StatusCode) else _NAMES.get(code, "UNKNOWN")
    return name
