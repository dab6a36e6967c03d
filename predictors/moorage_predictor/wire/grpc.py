"""V2 over gRPC: the Open Inference Protocol's service, and Triton's further calls. Called by `wire/server.py`.

The messages are `moorage.api.oip`'s, which KServe's and Triton's clients both understand; errors become statuses here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import starmap
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode, aio

from moorage import __version__
from moorage.access.errors import AccessError
from moorage.access.limits import PEER
from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb
from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import ControlDisabled, InvalidInput, ModelFault, RequestError, StartError
from moorage_predictor.telemetry.grpc import observed, why_cancelled
from moorage_predictor.telemetry.observer import Observer
from moorage_predictor.telemetry.record import CURRENT
from moorage_predictor.wire.access import GRPC_ROLES, Guarded, model_of
from moorage_predictor.wire.control import LogSettings
from moorage_predictor.wire.decode import PARSE_HERE, is_batch, rows_of
from moorage_predictor.wire.descriptions import EXTENSIONS, PRODUCT, config, metadata
from moorage_predictor.wire.grpc_guard import Guard
from moorage_predictor.wire.grpc_health import SERVICE as HEALTH
from moorage_predictor.wire.grpc_health import Health
from moorage_predictor.wire.grpc_incoming import Incoming, Reading, small, unary, unary_stream
from moorage_predictor.wire.grpc_messages import infer_request, infer_response
from moorage_predictor.wire.messages import InferResponse
from moorage_predictor.wire.repository import Repository

if TYPE_CHECKING:
    from moorage.access.gate import Gate
    from moorage_predictor.wire.rate_limits import Limits

_log = logging.getLogger(__name__)

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Rpc = Callable[[Any, Context], Awaitable[Any]]

_KEEP_ALIVE_MS: Final = 65_000
_LEAST_PING_MS: Final = 5_000
_MAX_TEXT: Final = 1000
"""Characters of a status; clients take few bytes of metadata."""
_PROBES: Final = ("ServerLive", "ServerReady")
"""Their messages are empty, so they are answered before one comes."""


def create_server(
    repository: Repository,
    settings: PredictorSettings,
    gate: "Gate | None" = None,
    limits: "Limits | None" = None,
    observer: Observer | None = None,
) -> aio.Server | Guard:
    """A server without a port yet, of grpcio or of what stands in for it; see `--grpc-server`. `gate` knows the callers,
    `limits` how often they call.

    Raises:
        StartError: the one that is asked for is not installed.
    """
    native, guarded = _native(settings), None if gate is None else Guarded(gate, limits)
    late = guarded is not None and native is None
    handlers = services(repository, settings, guarded, limits, observer, late=late)
    options = [
        # Off unless workers share the port: a second predictor on it must fail, not share it.
        ("grpc.so_reuseport", 1 if settings.http_fd is not None else 0),
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", settings.max_header_bytes),
        ("grpc.max_concurrent_streams", settings.max_connections),
        ("grpc.keepalive_time_ms", _KEEP_ALIVE_MS),
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MS),
    ]
    if native is not None:
        inside = native.server(options=options)
        for name, methods in handlers.items():
            inside.add_registered_method_handlers(name, methods)
        shared = settings.http_fd is not None
        return Guard(inside, settings, share_port=shared)
    if late:  # else the window of a fast connection grows by itself, and all of it is what a stranger may fill
        options.append(("grpc.http2.bdp_probe", 0))
    server: aio.Server = aio.server(options=options, maximum_concurrent_rpcs=settings.max_connections)
    server.add_generic_rpc_handlers(tuple(starmap(grpc.method_handlers_generic_handler, handlers.items())))
    return server


def services(
    repository: Repository,
    settings: PredictorSettings,
    guarded: Guarded | None = None,
    limits: "Limits | None" = None,
    observer: Observer | None = None,
    *,
    late: bool = False,
) -> dict[str, dict[str, Any]]:
    """All that the server answers: of each service its methods' handlers. `late`: messages are taken in after `guarded` has judged
    their callers."""
    service, health = _Service(repository, settings, guarded, limits), Health(repository)
    rpcs: dict[str, tuple[Rpc, Any]] = {
        name: (_translated(name, getattr(service, name), request.FromString, guarded, limits), answer.SerializeToString)
        for name, (request, answer) in _CALLS.items()
    }
    rpcs["ModelInfer"] = service.ModelInfer, pb.ModelInferResponse.SerializeToString
    rpcs["Check"] = _translated("Check", health.check, health.parse, None, None), None
    if observer is not None:
        rpcs = {name: (observed(name, rpc, observer), serializer) for name, (rpc, serializer) in rpcs.items()}
    reading = Reading(settings) if late else None
    handlers = {
        name: unary(rpc, serializer, GRPC_ROLES[name], reading, empty=name in _PROBES)
        for name, (rpc, serializer) in rpcs.items()
    }
    # As long as its client likes: no request to log.
    asked = {"Check": handlers.pop("Check"), "Watch": unary_stream(health.watch, GRPC_ROLES["Watch"], reading)}
    return {SERVICE: handlers, HEALTH: asked}


def _native(settings: PredictorSettings) -> Any:
    """The module whose server does HTTP/2 outside the interpreter's lock, unless the other is asked for."""
    if settings.grpc_server == "grpcio" or settings.tls_cert_file is not None:
        return None
    if settings.grpc_server == "auto" and settings.controls_access:
        return None  # the other takes a whole message in before it shows who sends it
    try:
        import pygrpc_native.aio as native  # `from pygrpc_native import aio` never ends
    except ImportError as error:
        if settings.grpc_server == "auto":
            return None
        raise StartError("--grpc-server=native: pip install 'moorage[fast-grpc]' first") from error
    return native


_CALLS: Final[dict[str, tuple[Any, Any]]] = {
    "ServerLive": (pb.Empty, pb.ServerLiveResponse),
    "ServerReady": (pb.Empty, pb.ServerReadyResponse),
    "ServerMetadata": (pb.Empty, pb.ServerMetadataResponse),
    "ModelReady": (pb.ModelRequest, pb.ModelReadyResponse),
    "ModelMetadata": (pb.ModelRequest, pb.ModelMetadataResponse),
    "ModelConfig": (pb.ModelRequest, pb.ModelConfigResponse),
    "ModelStatistics": (pb.ModelRequest, pb.ModelStatisticsResponse),
    "RepositoryIndex": (pb.RepositoryIndexRequest, pb.RepositoryIndexResponse),
    "RepositoryModelLoad": (pb.RepositoryModelRequest, pb.RepositoryModelResponse),
    "RepositoryModelUnload": (pb.RepositoryModelRequest, pb.RepositoryModelResponse),
    "TraceSetting": (pb.TraceSettings, pb.TraceSettings),
    "LogSettings": (pb.LogSettings, pb.LogSettings),
}


class _Service:
    """One method a call; each returns its message or raises a `RequestError`."""

    def __init__(
        self, repository: Repository, settings: PredictorSettings, guarded: Guarded | None, limits: "Limits | None"
    ) -> None:
        self._guarded = guarded
        self._rate_limits = limits
        self._repository = repository
        self._limits = settings
        self._control = settings.control_endpoints
        self._log = LogSettings()

    async def ModelInfer(self, body: bytes | Incoming, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """The hot path; counted, and translated here rather than by one more coroutine."""
        started = perf_counter_ns()
        code, text = StatusCode.OK, ""
        served = None
        try:
            caller = None if self._guarded is None else await self._guarded.infer_caller(context)
            if not isinstance(body, bytes):
                body = await body.read()
            message = pb.ModelInferRequest.FromString(body)
            if caller is not None and self._guarded is not None:
                self._guarded.permit_model(caller, message.model_name)
            counted = None
            if self._rate_limits is not None:
                counted = await self._rate_limits.count("ModelInfer", context, caller, message.model_name)
            route = self._repository.route(message.model_name, message.model_version)
            found = served = route.newest
            if found.pipeline is None:
                found = served = await route.wake(None)  # the call's own deadline ends it
            types = found.admit().types
            if len(body) > PARSE_HERE:
                with found.held():
                    request = await asyncio.to_thread(infer_request, message, found.version, self._limits, types)
            else:
                request = infer_request(message, found.version, self._limits, types)
            rows, parsed, inferred = rows_of(request), perf_counter_ns(), 0
            if counted is not None and is_batch(request):
                with found.held():
                    await counted.take("batch")

            def encode(result: Any) -> Any:
                nonlocal inferred
                inferred = perf_counter_ns()
                if not isinstance(result, InferResponse):
                    raise ModelFault(f"the model {found.name} gave no V2 answer")
                return infer_response(request, result, found.version, described.labels)

            pipeline, described = found.admit(), found.described
            answer, _ = await pipeline.predict(request, self._headers(context), encode)
            found.finished("grpc", request.id, rows, (started, parsed, inferred, perf_counter_ns()))
            return answer
        except asyncio.CancelledError:
            code = why_cancelled(context, (perf_counter_ns() - started) / 1e9)
            raise
        except Exception as error:  # noqa: BLE001 - the process's one catch-all for gRPC: logged, counted, answered
            if self._guarded is not None:
                self._guarded.note(error)
            code, text = _status(error)
        finally:
            seconds = (perf_counter_ns() - started) / 1e9
            if served:
                served.metrics.grpc.answered(code.name, seconds)
                if (record := CURRENT.get()) is not None:
                    record.of("grpc", served.name, served.version)
            elif code is StatusCode.NOT_FOUND:
                self._repository.unknown.grpc.answered(code.name, seconds)
        if served:
            served.statistics.failed(perf_counter_ns() - started)
        await context.abort(code, text)

    def _headers(self, context: Context) -> dict[str, str]:
        """The call's metadata that is text, as the SDK gives it to models; credentials go no further than the door."""
        metadata = context.invocation_metadata() or ()
        if self._guarded is not None:
            metadata = self._guarded.door.without_credentials(metadata)
        if self._rate_limits is not None:
            metadata = self._rate_limits.without_proof(metadata)
        return {key: value for key, value in metadata if isinstance(value, str) and key != PEER}

    async def ServerLive(self, request: Any, context: Context) -> Any:  # noqa: N802
        """The process serves."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Every model answers."""
        return pb.ServerReadyResponse(ready=await self._repository.is_ready())

    async def ServerMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        """The server itself."""
        return pb.ServerMetadataResponse(name=PRODUCT, version=__version__, extensions=EXTENSIONS)

    async def ModelReady(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Whether one model answers."""
        return pb.ModelReadyResponse(ready=await self._repository.find(request.name, request.version).is_ready())

    async def ModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Of one model."""
        served = self._repository.find(request.name, request.version)
        return pb.ModelMetadataResponse(**metadata(served, self._repository.versions(request.name)))

    async def ModelConfig(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Of one model, in Triton's form."""
        described = config(self._repository.find(request.name, request.version))
        known = {name: value for name, value in described.items() if name in pb.ModelConfig.DESCRIPTOR.fields_by_name}
        return pb.ModelConfigResponse(config=pb.ModelConfig(**known))

    async def ModelStatistics(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Of one version, of all of a model, or of all."""
        chosen = self._repository.chosen(request.name, request.version)
        stats = [pb.ModelStatistics(**served.statistics.as_dict(served.name, served.version)) for served in chosen]
        return pb.ModelStatisticsResponse(model_stats=stats)

    async def RepositoryIndex(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Every model, or those that are ready."""
        return pb.RepositoryIndexResponse(
            models=[pb.ModelIndex(**row) for row in self._repository.index(request.ready)]
        )

    async def RepositoryModelLoad(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Load, or load again."""
        name = self._controlled(request)
        await self._repository.load(name)
        return pb.RepositoryModelResponse(model_name=name, done=True)

    async def RepositoryModelUnload(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Stop answering."""
        name = self._controlled(request)
        await self._repository.unload(name)
        return pb.RepositoryModelResponse(model_name=name, done=True)

    def _controlled(self, request: Any) -> str:
        """The model's name: KServe's clients send it first, Triton's second."""
        self._check_control()
        name: str = request.model_name or request.model_or_repository_name
        return name

    def _check_control(self) -> None:
        if not self._control:
            raise ControlDisabled

    async def TraceSetting(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Show trace settings, and change those that the request names."""
        served = self._repository.find(request.model_name) if request.model_name else None
        if request.settings:
            self._check_control()
            given = {name: list(setting.value) or None for name, setting in request.settings.items()}
            if served:
                self._repository.set_trace(served, given)
            else:
                self._repository.trace.update(given)
        shown = (served.trace if served else self._repository.trace).as_dict()
        return pb.TraceSettings(
            settings={
                name: pb.TraceSettingValue(value=value if isinstance(value, list) else [value])
                for name, value in shown.items()
            }
        )

    async def LogSettings(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Show log settings, and change those that the request names."""
        if request.settings:
            self._check_control()
            given = {}
            for name, setting in request.settings.items():
                choice = setting.WhichOneof("parameter_choice")
                if choice is None:
                    raise InvalidInput(f"{name[:40]}: expected a value, found none")
                given[name] = getattr(setting, choice)
            self._log.update(given)
        return pb.LogSettings(settings={name: _log_value(value) for name, value in self._log.as_dict().items()})


def _log_value(value: Any) -> pb.LogSettingValue:
    if isinstance(value, bool):
        return pb.LogSettingValue(bool_param=value)
    if isinstance(value, int):
        return pb.LogSettingValue(uint32_param=value)
    return pb.LogSettingValue(string_param=value)


def _translated(
    name: str, rpc: Rpc, parse: Callable[[bytes], Any], guarded: Guarded | None, limits: "Limits | None"
) -> Rpc:
    """The method, from bytes, with our errors as statuses."""
    is_open = GRPC_ROLES[name] is None

    async def call(request: Any, context: Context) -> Any:
        try:
            if is_open:
                request = await small(request)
            if guarded is not None:
                return await guarded.call(name, rpc, parse, request, context)
            message = parse(request)  # late only where callers are judged
            if limits is not None:
                await limits.count(name, context, None, model_of(message))
            return await rpc(message, context)
        except Exception as error:  # noqa: BLE001 - as in ModelInfer
            if guarded is not None:
                guarded.note(error)
            code, text = _status(error)
        await context.abort(code, text)

    return call


def _status(error: Exception) -> tuple[StatusCode, str]:
    if isinstance(error, RequestError):
        return StatusCode[error.grpc], str(error)[:_MAX_TEXT]
    if isinstance(error, AccessError):
        return StatusCode[error.code], str(error)[:_MAX_TEXT]
    if isinstance(error, DecodeError):
        return StatusCode.INVALID_ARGUMENT, "expected the call's own message, found other bytes"
    _log.error("request failed", exc_info=error)
    return StatusCode.INTERNAL, "internal error"
