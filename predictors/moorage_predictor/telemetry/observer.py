"""The beginning and the end of each request, for every protocol: its id, its log line, its trace. Called by `http` and `grpc`;
made by `wire/server.py`.
"""

import asyncio
import os
import re
import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from moorage.api.predictor import PredictorSettings
from moorage_predictor.metrics import Metrics
from moorage_predictor.telemetry import collector
from moorage_predictor.telemetry.record import Record
from moorage_predictor.telemetry.request_log import Common, RequestLog

if TYPE_CHECKING:
    from moorage_predictor.telemetry.traces import Traces

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}").fullmatch
"""Version, trace, span, flags."""


class Observer:
    """Of one process."""

    def __init__(self, log: RequestLog | None = None, traces: "Traces | None" = None) -> None:
        self._log = log
        self._traces = traces
        self.looks = log is not None or traces is not None
        """Whether anything is to be done with a request but to name it."""
        self.traced = traces is not None

    def begin(self, record: Record, name: str, traceparent: bytes | None, tracestate: bytes | None) -> None:
        """The request named so is here, perhaps as a part of its caller's trace. Not needed where it is of none and none is
        made: see `traced`."""
        if self._traces is not None:
            self._traces.begin(record, name, _text(traceparent), _text(tracestate))
        elif traceparent and (found := _TRACEPARENT(traceparent)):
            record.trace_id = found[1].decode("ascii")

    def wants(self, *, failed: bool, quiet: bool) -> bool:
        """Whether `end` needs to be told of such a request; `quiet` ones, as probes, are of interest if they fail."""
        if self._traces is not None:
            return True
        return self._log is not None and (failed or not (quiet or self._log.only_errors))

    def end(self, record: Record, common: Common, fields: dict[str, Any], *, failed: bool, quiet: bool = False) -> None:
        """It is answered. `common` and `fields` are what its protocol knows of it, without what is not known."""
        ended = perf_counter_ns()
        if self._traces is not None and record.span is not None:
            self._traces.end(record, {**common.fields, **fields}, failed=failed)
        log = self._log
        if log is None or (not failed and (quiet or log.only_errors)):
            return
        log.write(record, common, fields, ended)

    async def close(self) -> None:
        """Send what has been gathered. Takes a few seconds at most."""
        if self._log is not None:
            await self._log.close()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)


def observer(settings: PredictorSettings, metrics: Metrics) -> Observer:
    """As the settings and OpenTelemetry's variables ask.

    Raises:
        StartError: traces are asked for, and what makes them is not installed, or the collector's headers cannot be read.
    """
    log = None
    if settings.request_log != "off":
        log = RequestLog(sys.stdout.fileno(), metrics.log_dropped, only_errors=settings.request_log == "errors")
    traces = None
    if endpoint := collector.endpoint(settings, os.environ):
        headers = collector.headers(settings)
        from moorage_predictor.telemetry.traces import Traces

        traces = Traces(endpoint, settings.otel_sample_rate, headers)
    return Observer(log, traces)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
