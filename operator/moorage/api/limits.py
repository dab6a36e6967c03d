"""How much one request and one connection may ask of a predictor. The fields are options of `PredictorSettings`.

Each is enforced before what it bounds has cost memory or time; what is beyond gets the named answer. The predictor's
`wire/` room reads them.
"""

from pydantic import BaseModel, ConfigDict, Field

_MIB = 1024 * 1024


class RequestLimits(BaseModel):
    """Limits with the status that is answered beyond them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body_bytes: int = Field(
        default=64 * _MIB, ge=1024, le=2**31 - 1, description="Largest body, and largest gRPC message, bytes: 413."
    )
    max_inflated_bytes: int = Field(
        default=64 * _MIB,
        ge=1024,
        le=2**31 - 1,
        description="Largest body after gzip or deflate is undone, bytes: 413.",
    )
    max_held_bytes: int = Field(
        default=512 * _MIB,
        ge=1024,
        description="Most bytes of the bodies of all requests that are not answered yet, together: 503.",
    )
    max_chunks: int = Field(default=65536, ge=1, description="Most chunks of one chunked body: 413.")
    max_headers: int = Field(default=100, ge=8, le=10000, description="Most header lines of one request: 431.")
    max_header_bytes: int = Field(
        default=64 * 1024, ge=1024, le=_MIB, description="Largest request line and headers together, bytes: 431."
    )
    max_json_depth: int = Field(default=100, ge=4, le=1000, description="Deepest nesting of JSON: 400.")
    max_json_keys: int = Field(
        default=100_000, ge=16, description="Most keys in one JSON body (counted as colons): 400."
    )
    max_json_values: int = Field(
        default=4 * _MIB, ge=16, description="Most values in one JSON body (counted as commas), or BYTES elements: 400."
    )
    max_tensors: int = Field(default=64, ge=1, le=10_000, description="Most inputs, and most requested outputs: 400.")
    max_elements: int = Field(default=16 * _MIB, ge=1, description="Most elements of all inputs together: 400.")
    max_connections: int = Field(default=2048, ge=1, description="Most open HTTP connections: 503.")
    max_pending: int = Field(
        default=256, ge=1, description="Most requests in work and waiting, for each model: 503 with Retry-After."
    )
    header_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Longest time from the opening of a connection to the end of its headers: closed.",
    )
    body_timeout_s: float = Field(
        default=15.0,
        gt=0,
        le=600,
        description="Longest pause in a body, longest stretch of it with less than 1 KiB/s, and longest time in which nothing "
        "of an answer is read: 408, or closed.",
    )
    keep_alive_s: int = Field(
        default=65,
        ge=0,
        le=3600,
        description="How long an idle connection stays open. Longer than a proxy's own 60 s, which else sends into a closing one.",
    )

    @property
    def message_timeout_s(self) -> float:
        """How long a gRPC message may take as a whole: `body_timeout_s`, and a second more for each MiB that it may have."""
        return self.body_timeout_s + self.max_body_bytes / _MIB
