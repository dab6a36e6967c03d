"""The one contract between what the operator renders and what the predictor parses.

`render/` and `moor up` build a `PredictorSettings` and turn it into argv and environment; the predictor's entry point
turns argv and environment back into an equal `PredictorSettings`. Nothing else may carry configuration across.

    ModelDeployment -> render -> PredictorSettings -> argv()/env() -> pod or child process -> parse() -> PredictorSettings
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field, model_validator

from moorage.api.access import ACCESS_FROM_ENV, AccessSettings
from moorage.api.engines import PRECISIONS_OF, EngineSettings
from moorage.api.label_value import LABEL_VALUE
from moorage.api.limits import RequestLimits
from moorage.api.pictures import PictureSettings
from moorage.api.rate_limits import RateLimitSettings
from moorage.api.tabular import TabularSettings
from moorage.api.telemetry import TelemetrySettings
from moorage.api.tls import TlsSettings

HTTP_PORT: Final = 8080
GRPC_PORT: Final = 8081
METRICS_PORT: Final = 8082
"""Of pods; a process on a laptop has its metrics on the HTTP port."""
METRICS_PATH: Final = "/metrics"
MODEL_DIR: Final = "/mnt/models"
"""Where KServe's storage initializer puts the files of `storageUri`."""

LIVE_PATH: Final = "/v2/health/live"
READY_PATH: Final = "/v2/health/ready"
"""Answers 200 as long as the process serves; used by the liveness and startup probes."""

MODEL_NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
VERSION_PATTERN: Final = f"^{LABEL_VALUE}$"
"""It is a part of paths: with a slash or a colon in it, who guards the paths would take it for another route."""
ARCHITECTURE_PATTERN: Final = r"^(timm|torchvision|ultralytics)/[a-z0-9][a-z0-9_.]{0,98}$"
SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"
BUILT_IN_TASKS: Final = ("image-classification", "object-detection", "tabular")
"""What the predictor does by itself; each is a row of the predictor's `tasks/table.py`."""
TASK_PATTERN: Final = rf"^({'|'.join(BUILT_IN_TASKS)}|[^:\x00]+:[A-Za-z_][A-Za-z0-9_]*)$"

_REPEATED: Final = frozenset(
    {
        "class_name",
        "column",
        "jwt_algorithms",
        "preload",
        "rate_limit",
        "storage_allow_hosts",
        "trusted_proxies",
        "trusted_type",
    }
)
CALLED_AS: Final = "MOORAGE_CALLED_AS"
"""What the usage names as the command, where it is not the predictor's own name."""
_FROM_ENV: Final = {"log_level": "MOORAGE_LOG_LEVEL", "termination_log": "MOORAGE_TERMINATION_LOG", **ACCESS_FROM_ENV}


def ready_path(model_name: str) -> str:
    """The readiness endpoint of one model: 200 once it answers predictions, 503 before. The kubelet and `moor up` ask it."""
    return f"/v2/models/{model_name}/ready"


class PredictorSettings(
    TabularSettings,
    PictureSettings,
    EngineSettings,
    TlsSettings,
    TelemetrySettings,
    RateLimitSettings,
    AccessSettings,
    RequestLimits,
):
    """Everything that one predictor process is told. Immutable; unknown options are an error."""

    model_name: str = Field(default="model", pattern=MODEL_NAME_PATTERN, description="The name in every URL.")
    model_version: str = Field(
        default="1", max_length=63, pattern=VERSION_PATTERN, description="The version label of the weights."
    )
    task: str = Field(
        pattern=TASK_PATTERN,
        description="`image-classification`, `object-detection`, `tabular`, or a class of yours as `package.module:Class` or "
        "`path/to/file.py:Class`.",
    )
    runtime: Literal["torch", "torchserve"] = Field(
        default="torch",
        description="What runs the network of task image-classification: the predictor itself, or a TorchServe process below it, "
        "with extra torchserve and Java 17.",
    )
    architecture: str | None = Field(
        default=None,
        pattern=ARCHITECTURE_PATTERN,
        description="`timm/NAME`, or for object-detection `torchvision/NAME` or `ultralytics/NAME`; read from the model's "
        "config.json if absent.",
    )
    model_dir: str | None = Field(
        default=None, min_length=1, description="A local folder (or one weight file) that already holds the model."
    )
    storage_uri: str | None = Field(
        default=None,
        min_length=1,
        description="Fetched by the predictor itself: pkg:// in a cluster, any scheme in `moor up`.",
    )
    model_repository: str | None = Field(
        default=None,
        min_length=1,
        description="A local folder of many models, as NAME/VERSION/ with the files of one model each, instead of one model.",
    )
    preload: tuple[str, ...] = Field(
        default=(),
        description="A model of --model-repository that is loaded at the start and stays loaded; `all` for each of them. "
        "The others are loaded when they are first asked for. May be given several times.",
    )
    max_models: int = Field(
        default=5,
        ge=1,
        le=10_000,
        description="Most versions of models of --model-repository in memory. For another, the idle one that was not asked "
        "for the longest is unloaded.",
    )
    max_models_bytes: int | None = Field(
        default=None, ge=1, description="Most bytes that the files of those versions have together."
    )
    repository_poll_s: float = Field(
        default=0.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="How often --model-repository is looked through for new, changed and removed versions. 0 is never: "
        "then a load call does it.",
    )
    model_root: str | None = Field(default=None, min_length=1, description="file:// URIs must lie below this folder.")
    storage_allow_hosts: tuple[str, ...] = Field(
        default=(),
        description="host:port pairs that may be fetched from although they are private addresses. For tests.",
    )
    sha256: str | None = Field(
        default=None, pattern=SHA256_PATTERN, description="Of the weight file; checked before a byte of it is parsed."
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="Address that both listeners bind.")
    http_port: int = Field(default=HTTP_PORT, ge=0, le=65535, description="Of V1 and V2 REST.")
    grpc_port: int = Field(default=GRPC_PORT, ge=0, le=65535, description="Of V2 gRPC.")
    grpc_server: Literal["auto", "grpcio", "native"] = Field(
        default="auto",
        description="`native` does gRPC's HTTP/2 in Rust, with extra fast-grpc and without TLS; `auto` takes it where it is "
        "installed, TLS is off and nobody is asked for a key.",
    )
    workers: int = Field(
        default=1, ge=1, le=64, description="Processes that share the two ports, each with the model in its own memory."
    )
    http_fd: int | None = Field(
        default=None, ge=3, description="An open listening socket; set by the process that starts several workers."
    )
    worker_timeout_s: float = Field(
        default=5.0,
        ge=1,
        le=3600,
        description="One of several workers that gives no sign of life for so long is killed and replaced. A forward pass that "
        "takes longer is no reason, unless it holds Python's interpreter lock all the time.",
    )
    forward_timeout_s: float = Field(
        default=300.0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="When a model has had requests for so long and answered none, it hangs: the process (of several workers "
        "the one) answers them with 503 and ends with code 1, to be started anew. 0 is never.",
    )
    heartbeat_fd: int | None = Field(
        default=None, ge=3, description="A pipe for signs of life; set by the process that starts several workers."
    )
    listen_late: bool = Field(
        default=False,
        description="Take connections only once the model answers; set by the process that starts several workers.",
    )
    control_endpoints: bool = Field(
        default=False,
        description="Let callers load and unload the model and change trace and log settings. With one worker only.",
    )

    max_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Most rows of one forward pass. Without it 8 for image-classification, 4 for object-detection, 64 for tabular, 8 "
        "for a class of yours with decode, batch or encode, and 1, which is no batching, for others.",
    )
    max_queue_delay_ms: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Longest wait of a row for company while the model is idle. Rows that come while it is busy share the "
        "next pass without it.",
    )
    max_queue_size: int = Field(
        default=256, ge=1, le=100_000, description="Most rows that wait for the model: 503 with Retry-After."
    )

    precision: Literal["fp32", "bf16", "fp16", "int8", "auto"] = Field(
        default="fp32",
        description="Number format of the forward pass. `auto` measures what this machine has, and takes the fastest that "
        "answers as fp32 does.",
    )
    on_load_failure: Literal["exit", "stay"] = Field(
        default="exit",
        description="What a model that cannot be loaded leads to: the process ends with the reason, or stays, live and not "
        "ready, with the reason in its readiness answers.",
    )
    drain_delay_s: float = Field(
        default=0.0,
        ge=0,
        le=600,
        allow_inf_nan=False,
        description="How long requests are still taken after SIGTERM, while readiness says 503 and answers say `Connection: "
        "close`: as long as proxies and endpoints need to notice. Pods get 5.",
    )
    shutdown_grace_s: float = Field(
        default=20.0,
        ge=0,
        le=600,
        description="How long requests in flight may finish after that. What is left then gets 503, and the exit code is 4.",
    )
    exit_with_parent: bool = Field(default=False, description="Stop when standard input closes; set by `moor up`.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    termination_log: str | None = Field(
        default=None,
        min_length=1,
        description="File that gets the one-line reason of a failure; Kubernetes copies it into the pod's status.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.model_repository is not None:
            if self.model_dir or self.storage_uri or self.sha256:
                raise ValueError(
                    "expected none of --model-dir, --storage-uri and --sha256 with --model-repository: those are of one model"
                )
            return self
        if not self.built_in and not (self.model_dir and self.storage_uri):
            return self  # a class of one's own may need no files
        if (self.model_dir is None) == (self.storage_uri is None):
            raise ValueError("expected exactly one of --model-dir, --storage-uri and --model-repository")
        return self

    @model_validator(mode="after")
    def _many_models_are_in_one_repository(self) -> Self:
        if self.model_repository is None:
            if self.preload or self.repository_poll_s:
                raise ValueError("expected --model-repository with --preload and --repository-poll-s")
        elif self.workers > 1:
            raise ValueError(
                "expected --workers=1 with --model-repository: several would not change to a new version at one moment"
            )
        return self

    @model_validator(mode="after")
    def _a_class_computes_by_itself(self) -> Self:
        if self.task != "image-classification" and (self.precision != "fp32" or self.engine):
            whose = (
                "another task than image-classification" if self.built_in else "a class of yours: its own code decides"
            )
            raise ValueError(f"expected neither --precision nor --engine with {whose}")
        return self

    @model_validator(mode="after")
    def _torchserve_classifies_images(self) -> Self:
        if self.runtime == "torch":
            return self
        if self.task != "image-classification" or self.model_repository is not None:
            raise ValueError("expected one model of --task=image-classification with --runtime=torchserve")
        if self.precision != "fp32" or self.engine or self.features == "on":
            raise ValueError("expected neither --precision, --engine nor --features=on with --runtime=torchserve")
        if self.workers > 1:
            raise ValueError("expected --workers=1 with --runtime=torchserve: each would start a TorchServe of its own")
        return self

    @model_validator(mode="after")
    def _columns_are_of_tables(self) -> Self:
        stated = ("column", "class_name", "model_output", "trusted_type", "allow_unsafe_formats")
        if self.task != "tabular" and (found := [name for name in stated if getattr(self, name)]):
            raise ValueError(f"expected --task=tabular with --{found[0].replace('_', '-')}")
        return self

    @model_validator(mode="after")
    def _the_engine_has_the_precision(self) -> Self:
        if self.engine and self.precision not in (known := PRECISIONS_OF[self.engine]):
            raise ValueError(f"expected --precision {', '.join(known)} with --engine={self.engine}")
        return self

    @model_validator(mode="after")
    def _tls_has_a_server(self) -> Self:
        if self.tls_cert_file and self.grpc_server == "native":
            raise ValueError("expected --grpc-server=grpcio or auto with --tls-cert-file: the native server has no TLS")
        return self

    @model_validator(mode="after")
    def _one_worker_is_controlled(self) -> Self:
        if self.control_endpoints and self.workers > 1:
            raise ValueError(
                "expected --workers=1 with --control-endpoints: a call reaches only one of several workers"
            )
        return self

    @property
    def built_in(self) -> bool:
        """Whether the predictor does the task by itself; otherwise it is a class of the user's."""
        return self.task in BUILT_IN_TASKS

    def argv(self) -> list[str]:
        """Command-line options, one word each (`--name=value`), in declaration order; defaults are left out."""
        words = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in _FROM_ENV or value == field.default:
                continue
            for item in value if name in _REPEATED else (value,):
                words.append(f"--{name.replace('_', '-')}={_text(item)}")
        return words

    def env(self) -> dict[str, str]:
        """Environment variables for the settings that belong to the surroundings rather than to the model."""
        return {
            variable: _text(value)
            for name, variable in _FROM_ENV.items()
            if (value := getattr(self, name)) != type(self).model_fields[name].default
        }

    @classmethod
    def parse(cls, argv: Sequence[str], env: Mapping[str, str]) -> Self:
        """The inverse of `argv()` and `env()`.

        Raises:
            pydantic.ValidationError: a value is out of bounds, or a required option is missing.
            SystemExit: (code 2) an unknown option; argparse has printed the usage.
        """
        called = env.get(CALLED_AS, "moorage-predictor")
        parser = argparse.ArgumentParser(prog=called, allow_abbrev=False, description="The Moorage predictor.")
        for name, field in cls.model_fields.items():
            if name not in _FROM_ENV:
                parser.add_argument(
                    f"--{name.replace('_', '-')}",
                    dest=name,
                    default=argparse.SUPPRESS,
                    action="append" if name in _REPEATED else "store",
                    help=field.description,
                )
        values: dict[str, Any] = vars(parser.parse_args(list(argv)))
        values.update({name: env[variable] for name, variable in _FROM_ENV.items() if variable in env})
        return cls.model_validate(values)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


LoadStage = Literal["import", "fetch", "weights", "warmup", "ready"]


@dataclass(frozen=True)
class LoadProgress:
    """One step of loading a model; the predictor writes it to stderr as a JSON line, `moor up` draws it as a bar."""

    stage: LoadStage
    done: int
    total: int
    at: float | None = None
    """Seconds since the process began."""

    def line(self) -> str:
        """One JSON object, no newline."""
        stated = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps({"progress": stated}, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> "LoadProgress | None":
        """The progress that a line of the predictor's stderr tells, or None for any other line."""
        if not line.startswith('{"progress":'):
            return None
        try:
            made = cls(**json.loads(line)["progress"])
        except (ValueError, TypeError):
            return None
        return made if made.stage in get_args(LoadStage) else None
