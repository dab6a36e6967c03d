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
    merge: Literal["sum", "min", "max"] = "sum"
    """What a gauge of several workers becomes. Counters and histograms are always added up."""


_LATENCY_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""A row of numbers takes 0.3 ms alone and 1 to 7 ms under load, an image 10 to 2000 ms."""
_STAGE_S = (
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""A stage may be a tenth of such a request."""
_API_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

STAGES: Final = ("decode", "queue", "forward", "encode")
"""One after the other, they are all of an answered request."""
UNKNOWN: Final = "(unknown)"
"""In `model` and `version`: the request named what is not there. No model can have this name."""
OTHER: Final = "(other)"
"""In `model` and `version`: one of those beyond --max-metric-models; in other labels: a word that is not known here."""

REQUESTS: Final = Metric(
    "moorage_requests_total",
    "counter",
    "predictor",
    ("model", "version", "protocol", "code"),
    "Prediction requests; protocol is v1, v2 or grpc, code the HTTP status or the gRPC status name. "
    "What access or a rate limit turned away is counted by their own metrics alone.",
)
REQUEST_DURATION: Final = Metric(
    "moorage_request_duration_seconds",
    "histogram",
    "predictor",
    ("model", "version", "protocol"),
    "Time from the request's headers to its answer, the wait for its body included.",
    _LATENCY_S,
)
STAGE_DURATION: Final = Metric(
    "moorage_stage_duration_seconds",
    "histogram",
    "predictor",
    ("model", "version", "stage"),
    "The parts of answered requests: decode (body and images), queue, forward (the model, with whom it shares the pass), "
    "encode.",
    _STAGE_S,
)
BATCH_ROWS: Final = Metric(
    "moorage_batch_rows",
    "histogram",
    "predictor",
    ("model", "version"),
    "Rows of one forward pass, of models that batch.",
    _ROWS,
)
QUEUE_ROWS: Final = Metric(
    "moorage_queue_rows", "gauge", "predictor", ("model", "version"), "Rows that wait for a forward pass."
)
PENDING: Final = Metric(
    "moorage_pending_requests", "gauge", "predictor", ("model", "version"), "Requests in work and waiting."
)
PENDING_LIMIT: Final = Metric(
    "moorage_pending_requests_limit",
    "gauge",
    "predictor",
    ("model", "version"),
    "How many they may be before the next is answered 503.",
)
MODEL_LOAD: Final = Metric(
    "moorage_model_load_seconds",
    "gauge",
    "predictor",
    ("model", "version"),
    "Time from the start of loading to ready; of several workers the longest.",
    merge="max",
)
MODEL_READY: Final = Metric(
    "moorage_model_ready",
    "gauge",
    "predictor",
    ("model", "version"),
    "1 while the model answers, in each worker, else 0.",
    merge="min",
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
MODEL_INFO: Final = Metric(
    "moorage_model_info",
    "gauge",
    "predictor",
    ("model", "version", "engine", "precision"),
    "1 for what runs the loaded model, and in which number format; custom is a class of yours.",
    merge="max",
)
RATE_LIMITS: Final = Metric(
    "moorage_rate_limit_decisions_total",
    "counter",
    "predictor",
    ("operation", "caller", "outcome"),
    "Requests that a rate limit looked at; operation is predict, batch or manage, caller key, jwt or anonymous, outcome "
    "allowed or limited.",
)
ACCESS_DENIED: Final = Metric(
    "moorage_access_denied_total",
    "counter",
    "predictor",
    ("reason",),
    "Requests that were turned away before any route.",
)
LOG_DROPPED: Final = Metric(
    "moorage_request_log_dropped_total",
    "counter",
    "predictor",
    (),
    "Lines of the request log that were lost because whoever reads them was too slow.",
)
COLD_START: Final = Metric(
    "moorage_cold_start_seconds",
    "gauge",
    "predictor",
    ("worker",),
    "Time from the start of the process to ready.",
    merge="max",
)
WORKER_STARTS: Final = Metric(
    "moorage_worker_starts_total",
    "counter",
    "predictor",
    ("worker",),
    "How often a worker was started: 1, and one more each time that it was replaced.",
)
CPU_SECONDS: Final = Metric(
    "moorage_cpu_seconds_total",
    "counter",
    "predictor",
    ("worker",),
    "Processor time of the process, user and system; begins anew when a worker is replaced.",
)
RESIDENT_MEMORY: Final = Metric(
    "moorage_resident_memory_bytes", "gauge", "predictor", ("worker",), "Memory of the process (RSS)."
)
PROPORTIONAL_MEMORY: Final = Metric(
    "moorage_proportional_memory_bytes",
    "gauge",
    "predictor",
    ("worker",),
    "The same, where pages that several processes share count once between them (PSS). Linux only.",
)
GPU_MEMORY: Final = Metric(
    "moorage_gpu_memory_bytes",
    "gauge",
    "predictor",
    ("worker", "device"),
    "Memory that torch holds on a GPU for this process, in use or kept for reuse.",
)

RECONCILES: Final = Metric(
    "moorage_reconciles_total",
    "counter",
    "controller",
    ("outcome",),
    "Reconciliations by outcome: changed, unchanged, refused, retry, gone, left_alone.",
)
RECONCILE_DURATION: Final = Metric(
    "moorage_reconcile_duration_seconds", "histogram", "controller", (), "Time of one reconciliation.", _API_S
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
QUEUE_WAIT: Final = Metric(
    "moorage_reconcile_wait_seconds",
    "histogram",
    "controller",
    (),
    "For how long a ModelDeployment was due before a worker took it.",
    _API_S,
)
QUEUE_DEPTH: Final = Metric(
    "moorage_reconcile_queue_depth", "gauge", "controller", (), "ModelDeployments that are due or in work."
)
QUEUE_OLDEST: Final = Metric(
    "moorage_reconcile_queue_oldest_seconds",
    "gauge",
    "controller",
    (),
    "For how long the one that waits longest has been due.",
)
KNOWN_OBJECTS: Final = Metric(
    "moorage_known_objects",
    "gauge",
    "controller",
    ("kind",),
    "Objects that the controller knows of: ModelDeployments, what it made for them, and KServe's Deployments and pods.",
)
WATCH_SILENCE: Final = Metric(
    "moorage_watch_silence_seconds",
    "gauge",
    "controller",
    ("resource",),
    "Time since the API server last said anything of these; over 90 s the controller is not ready.",
)
WATCH_LISTS: Final = Metric(
    "moorage_watch_lists_total",
    "counter",
    "controller",
    ("resource",),
    "Lists of these: one at the start, and one after each interruption of a watch.",
)
WATCH_MISSED: Final = Metric(
    "moorage_watch_missed_total",
    "counter",
    "controller",
    (),
    "Changes of ModelDeployments that no watch had told of, found by counting them once a minute.",
)
LEADS: Final = Metric(
    "moorage_leader", "gauge", "controller", (), "1 in the controller that holds the lease and writes, 0 in a standby."
)
LEFT_ALONE: Final = Metric(
    "moorage_namespaces_left_alone",
    "gauge",
    "controller",
    (),
    "Namespaces in which nothing is done, because another installation's policy refuses a status there.",
)

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
BY_NAME: Final = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True)
class Query:
    """What people ask of the predictor's metrics, in Prometheus' language."""

    question: str
    promql: str


_FAULTS: Final = "5..|INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|UNKNOWN"

QUERIES: Final = (
    Query("Requests a second", "sum by (model) (rate(moorage_requests_total[5m]))"),
    Query(
        "Share of requests that failed through no fault of the caller's",
        f'1 - sum by (model) (rate(moorage_requests_total{{code!~"{_FAULTS}"}}[5m]))'
        " / sum by (model) (rate(moorage_requests_total[5m]))",
    ),
    Query(
        "99th percentile of the latency, seconds",
        "histogram_quantile(0.99, sum by (model, le) (rate(moorage_request_duration_seconds_bucket[5m])))",
    ),
    Query(
        "The same of each stage",
        "histogram_quantile(0.99, sum by (model, stage, le) (rate(moorage_stage_duration_seconds_bucket[5m])))",
    ),
    Query(
        "Share of the time that goes into each stage",
        "sum by (model, stage) (rate(moorage_stage_duration_seconds_sum[5m]))"
        " / on (model) group_left sum by (model) (rate(moorage_stage_duration_seconds_sum[5m]))",
    ),
    Query(
        "Rows of a forward pass, on average",
        "sum by (model) (rate(moorage_batch_rows_sum[5m])) / sum by (model) (rate(moorage_batch_rows_count[5m]))",
    ),
    Query(
        "Saturation: 1 means that the next request is answered 503",
        "sum by (model) (moorage_pending_requests) / sum by (model) (moorage_pending_requests_limit)",
    ),
    Query("Rows that wait", "sum by (model) (moorage_queue_rows)"),
    Query("Cores in use", "sum(rate(moorage_cpu_seconds_total[5m]))"),
    Query("Memory, bytes", "sum(moorage_proportional_memory_bytes)"),
    Query("Cold start, seconds: the slowest", "max(moorage_cold_start_seconds)"),
    Query(
        "Share of requests over a rate limit",
        'sum by (operation) (rate(moorage_rate_limit_decisions_total{outcome="limited"}[5m]))'
        " / sum by (operation) (rate(moorage_rate_limit_decisions_total[5m]))",
    ),
    Query("Callers that are turned away, a second", "sum by (reason) (rate(moorage_access_denied_total[5m]))"),
    Query("Models that are not ready", "count(moorage_model_ready == 0) or vector(0)"),
    Query("How often workers were replaced", "sum(moorage_worker_starts_total - 1)"),
    Query("Engine and precision", "count by (model, engine, precision) (moorage_model_info)"),
)
