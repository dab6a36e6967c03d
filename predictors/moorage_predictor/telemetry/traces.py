"""Requests as spans of OpenTelemetry, sent over OTLP. The one door to OpenTelemetry: `observer` imports it where an endpoint
is configured.

    caller's span (traceparent) ──> the request: SERVER ──> decode, queue, forward, encode
                                                                         └─ link ──> batch: links to every request in it

The SDK's own environment variables hold (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_BSP_*, OTEL_EXPORTER_OTLP_HEADERS):
by default the caller's decision whether to record is kept, and a request without one is recorded.
"""

import threading
import time
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any, Final

from moorage import __version__
from moorage_predictor.errors import StartError
from moorage_predictor.telemetry.record import Batch, Record

try:
    from opentelemetry import context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise StartError("traces: pip install 'moorage[otel]' first") from error

_CLOSE_S: Final = 3.0
_NAMES: Final = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "bytes_in": "http.request.body.size",
    "bytes_out": "http.response.body.size",
    "caller": "enduser.id",
    "client": "client.address",
    "rpc": "rpc.method",
    "code": "rpc.response.status_code",
}
"""Our fields -> OpenTelemetry's attributes."""


class Traces:
    """Of one process."""

    def __init__(self, endpoint: str, sample_rate: float | None = None, headers: dict[str, str] | None = None) -> None:
        """`endpoint` is the whole URL that spans are posted to, with `headers`; `sample_rate`, from 0 to 1, of those requests whose
        callers have not decided. None of either: as the SDK's variables say."""
        named = OTELResourceDetector().detect()  # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
        ours = Resource({"service.name": "moorage-predictor", "service.version": __version__})
        sampler = None if sample_rate is None else ParentBasedTraceIdRatio(sample_rate)
        self._provider = TracerProvider(sampler, ours.merge(named), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, headers=headers)))
        self._tracer = self._provider.get_tracer("moorage", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, record: Record, name: str, traceparent: str | None, tracestate: str | None) -> None:
        """The span of a request, which the model's own code finds as the current one in a call of its own."""
        carrier = {"traceparent": traceparent, "tracestate": tracestate or ""} if traceparent else {}
        parent = self._propagator.extract(carrier)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER)
        inside = set_span_in_context(span, parent)
        context.attach(inside)  # the task is the request's own: its context ends with it
        told: dict[str, str] = {}
        self._propagator.inject(told, inside)
        record.span = span
        record.trace_id = format(span.get_span_context().trace_id, "032x")
        record.answer_headers = tuple((key.encode(), value.encode()) for key, value in told.items())

    def end(self, record: Record, fields: Mapping[str, Any], *, failed: bool) -> None:
        """The request is answered."""
        span: Span = record.span
        if not span.is_recording():
            return
        if record.encoded:
            self._stages(record, span)
        if route := fields.get("route") or fields.get("rpc"):
            span.update_name(f"{fields['method']} {route}" if "method" in fields else route)
        for name, attribute in _NAMES.items():
            if (value := fields.get(name)) is not None:
                span.set_attribute(attribute, value)
        span.set_attribute("moorage.request_id", record.id)
        if record.model:
            span.set_attributes(
                {"moorage.model": record.model, "moorage.version": record.version, "moorage.rows": record.rows}
            )
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _stages(self, record: Record, span: Span) -> None:
        inside = set_span_in_context(span)
        since = time.time_ns() - perf_counter_ns()
        moments = (record.started, record.entered, record.taken, record.inferred, record.encoded)
        for name, begin, end in zip(("decode", "queue", "forward", "encode"), moments, moments[1:], strict=False):
            links, told = None, None
            if name == "forward" and (batch := record.batch) is not None:
                told = {"moorage.batch_rows": batch.rows}
                if len(batch.spans) > 1:
                    links = [Link(self._of(batch, since + begin, since + end).get_span_context())]
            self._tracer.start_span(name, inside, start_time=since + begin, links=links, attributes=told).end(
                since + end
            )

    def _of(self, batch: Batch, began: int, ended: int) -> Span:
        """The span of a forward pass of several requests, made by the first of them that is answered."""
        if batch.span is None:
            links = [Link(span.get_span_context()) for span in batch.spans]
            batch.span = self._tracer.start_span("batch", context.Context(), links=links, start_time=began)
            batch.span.set_attribute("moorage.rows", batch.rows)
            batch.span.end(ended)
        span: Span = batch.span
        return span

    def close(self) -> None:
        """Send what is left, unless nobody takes it."""
        thread = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        thread.start()
        thread.join(_CLOSE_S)
