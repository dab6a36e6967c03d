"""What a server tells about itself: the settings of the predictor's metrics, request log and traces."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TelemetrySettings(BaseModel):
    """Without any of them there are metrics on the HTTP port, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Of /metrics alone, on the same address; the HTTP port then has none. Nobody is asked for a key there.",
    )
    metrics_fd: int | None = Field(
        default=None,
        ge=3,
        description="The same as --http-fd, of the metrics; set by the process that starts several workers.",
    )
    metrics_dir: str | None = Field(
        default=None,
        min_length=1,
        description="Where several workers count together; set by the process that starts them.",
    )
    worker_number: int = Field(
        default=0, ge=0, le=63, description="Of this one among several; set by the process that starts them."
    )
    max_metric_models: int = Field(
        default=200,
        ge=1,
        le=10_000,
        description="Most versions of models that metrics tell apart; the others are counted together.",
    )
    request_log: Literal["all", "errors", "off"] = Field(
        default="off",
        description="Which requests get a JSON line on standard output: who asked what, how it ended, where the time went. "
        "Probes that succeed get none. Pods log `all`.",
    )
    otel_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s@]+$",
        description="Where traces are sent over OTLP (HTTP), for instance http://otel-collector:4318; with extra otel. Without "
        "it OTEL_EXPORTER_OTLP_ENDPOINT, and if that is not set either, there are none.",
    )
    otel_headers_file: str | None = Field(
        default=None,
        min_length=1,
        description="A file with the headers that the collector asks for, such as its credentials, written as "
        "OTEL_EXPORTER_OTLP_HEADERS is: NAME=VALUE,NAME=VALUE. Read at the start. Without it that variable.",
    )
    otel_sample_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Which share of the requests is recorded in traces where their callers have not decided it. Without it "
        "OTEL_TRACES_SAMPLER, and if that is not set either, all are.",
    )
