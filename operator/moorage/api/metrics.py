"""Names and labels of all metrics. They are API: docs/reference/metrics.md is made from this table; added to, never renamed."""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Metric:
    """One metric family: who exposes it, its Prometheus type, labels and meaning. Units are in the name."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    component: Literal["predictor", "controller"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS: Final = Metric(
    "moorage_requests_total",
    "counter",
    "predictor",
    ("model", "version", "protocol", "code"),
    "Prediction requests; protocol is v1, v2 or grpc, code the HTTP status or the gRPC status name.",
)
REQUEST_DURATION: Final = Metric(
    "moorage_request_duration_seconds",
    "histogram",
    "predictor",
    ("model", "version", "protocol"),
    "Time from the decoded request to the answer.",
    _LATENCY_S,
)
MODEL_LOAD: Final = Metric(
    "moorage_model_load_seconds", "gauge", "predictor", ("model", "version"), "Time from the start of loading to ready."
)
MODEL_READY: Final = Metric(
    "moorage_model_ready", "gauge", "predictor", ("model", "version"), "1 while the model answers, else 0."
)
MODEL_LOADS: Final = Metric(
    "moorage_model_loads_total",
    "counter",
    "predictor",
    ("model", "version", "outcome"),
    "Loads that came to their end; outcome is loaded or failed.",
)
MODEL_EVICTIONS: Final = Metric(
    "moorage_model_evictions_total",
    "counter",
    "predictor",
    ("model", "version"),
    "How often the model was unloaded to make room for another.",
)

RECONCILES: Final = Metric(
    "moorage_reconciles_total",
    "counter",
    "controller",
    ("outcome",),
    "Reconciliations by outcome: changed, unchanged, refused, retry, gone.",
)
RECONCILE_DURATION: Final = Metric(
    "moorage_reconcile_duration_seconds", "histogram", "controller", (), "Time of one reconciliation.", _LATENCY_S
)
API_REQUESTS: Final = Metric(
    "moorage_api_requests_total",
    "counter",
    "controller",
    ("verb", "code"),
    "Requests of the controller to the API server; code 0 means no answer.",
)
MODEL_DEPLOYMENTS: Final = Metric(
    "moorage_model_deployments",
    "gauge",
    "controller",
    ("ready",),
    "ModelDeployments by the status of their Ready condition.",
)

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
