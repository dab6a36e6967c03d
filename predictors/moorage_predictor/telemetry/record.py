"""What is known of one request, filled in on its way. Made by `http.Observed` and `grpc.observed`, read by them at its end.

    started ─ decode ─ entered ─ queue ─ taken ─ forward ─ inferred ─ encode ─ encoded      (perf_counter_ns)

`entered` is when the request's first row was ready for the model, `taken` when its last row left the queue.
"""

from contextvars import ContextVar
from typing import Any, Final


class Batch:
    """One forward pass, of one request or of several."""

    __slots__ = ("rows", "span", "spans")

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.spans: dict[Any, None] = {}
        """Of its requests, each once, where traces are on. Not the records: they know the batch, and requests are to make
        no cycles."""
        self.span: Any = None
        """Its own, once somebody has made it."""


class Record:
    """One request. What it has not come to yet is as the class has it: a request without a model makes few attributes."""

    id = ""
    """The caller's, if it is one that can be told, else made here."""
    protocol = ""
    """v1, v2 or grpc, of predictions."""
    model = ""
    version = ""
    rows = 0
    batch: Batch | None = None
    started = 0
    entered = 0
    taken = 0
    inferred = 0
    encoded = 0
    """0 if it was not answered with a prediction."""
    bytes_in = 0
    bytes_out = 0
    began = 0
    """When it came, by the same clock; where that is of interest."""
    caller = ""
    """Over gRPC: the caller's id."""
    trace_id = ""
    span: Any = None
    """Of OpenTelemetry, if traces are on."""
    answer_headers: tuple[tuple[bytes, bytes], ...] = ()
    """What the answer tells of the trace."""

    def of(self, protocol: str, model: str, version: str) -> None:
        """It asked this model for a prediction."""
        self.protocol, self.model, self.version = protocol, model, version

    def durations(self, ended: int) -> dict[str, Any]:
        """Where its time went until `ended`, in ms, and of how many rows it was; for the log."""
        found: dict[str, Any] = {"duration_ms": (ended - self.began) // 1000 / 1000}
        if self.encoded:
            entered, taken, inferred = self.entered, self.taken, self.inferred
            found["decode_ms"] = (entered - self.started) // 1000 / 1000
            found["queue_ms"] = (taken - entered) // 1000 / 1000
            found["forward_ms"] = (inferred - taken) // 1000 / 1000
            found["encode_ms"] = (self.encoded - inferred) // 1000 / 1000
            found["rows"] = self.rows
            if self.batch is not None:
                found["batch_rows"] = self.batch.rows
        if self.trace_id:
            found["trace_id"] = self.trace_id
        return found

    def enter(self, batch: Batch, now: int) -> None:
        """One of its rows leaves the queue."""
        self.taken, self.batch = now, batch
        if self.span is not None:
            batch.spans[self.span] = None


CURRENT: Final[ContextVar[Record | None]] = ContextVar("moorage.record", default=None)
"""The request that this task answers."""
