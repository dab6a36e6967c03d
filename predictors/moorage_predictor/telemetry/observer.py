"""The beginning and the end of each request, for every protocol: its id, its log line, its trace. Called by `http` and `grpc`;
made by `wire/server.py`.
"""

import os
import sys
from collections.abc import Mapping
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from moorage.api.predictor import PredictorSettings
from moorage_predictor.metrics import Metrics
from moorage_predictor.telemetry.record import Record
from moorage_predictor.telemetry.request_log import RequestLog

if TYPE_CHECKING:
    from moorage_predictor.telemetry.traces import Traces

_TRACE_ID: Final = slice(3, 35)
"""In a traceparent header: 00-TRACEID-SPANID-FLAGS."""


class Observer:
    """Of one process."""

    def __init__(self, log: RequestLog | None = None, traces: "Traces | None" = None) -> None:
        self._log = log
        self._traces = traces
        self.looks = log is not None or traces is not None
        """Whether anything is to be done with a request but to name it."""

    def begin(self, record: Record, name: str, traceparent: str | None, tracestate: str | None) -> None:
        """The request named so is here, perhaps as a part of its caller's trace."""
        record.began = perf_counter_ns()
        if self._traces is not None:
            self._traces.begin(record, name, traceparent, tracestate)
        elif traceparent and len(traceparent) == 55:
            record.trace_id = traceparent[_TRACE_ID]

    def end(self, record: Record, fields: Mapping[str, Any], *, failed: bool, quiet: bool = False) -> None:
        """It is answered. `fields` are what its protocol knows of it; `quiet` ones, as probes, are logged if they fail."""
        ended = perf_counter_ns()
        if self._traces is not None and record.span is not None:
            self._traces.end(record, fields, failed=failed)
        log = self._log
        if log is None or (not failed and (quiet or log.only_errors)):
            return
        line = {
            "request_id": record.id,
            **fields,
            "protocol": record.protocol or None,
            "model": record.model or None,
            "version": record.version or None,
            "duration_ms": _ms(ended - record.began),
            "trace_id": record.trace_id or None,
        }
        if record.encoded:
            line["decode_ms"] = _ms(record.entered - record.started)
            line["queue_ms"] = _ms(record.taken - record.entered)
            line["forward_ms"] = _ms(record.inferred - record.taken)
            line["encode_ms"] = _ms(record.encoded - record.inferred)
            line["rows"] = record.rows
            if record.batch is not None:
                line["batch_rows"] = record.batch.rows
        log.write(line)

    def close(self) -> None:
        """Send what has been gathered. Takes a few seconds at most."""
        if self._log is not None:
            self._log.close()
        if self._traces is not None:
            self._traces.close()


def observer(settings: PredictorSettings, metrics: Metrics) -> Observer:
    """As the settings and OpenTelemetry's variables ask.

    Raises:
        StartError: traces are asked for, and what makes them is not installed.
    """
    log = None
    if settings.request_log != "off":
        log = RequestLog(sys.stdout.fileno(), metrics.log_dropped, only_errors=settings.request_log == "errors")
    traces = None
    if endpoint := otel_endpoint(settings, os.environ):
        from moorage_predictor.telemetry.traces import Traces

        traces = Traces(endpoint)
    return Observer(log, traces)


def otel_endpoint(settings: PredictorSettings, env: Mapping[str, str]) -> str | None:
    """The URL that spans are sent to, if there is one."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if settings.otel_endpoint is None and (whole := env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return whole
    base = settings.otel_endpoint or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return f"{base.rstrip('/')}/v1/traces" if base else None


def _ms(nanoseconds: int) -> float:
    return nanoseconds // 1000 / 1000
