"""`spec.predictor`: how one copy of the model runs."""

import re
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moorage.api.v1alpha1.section import NOT_YET, DnsName, Duration, Obeys, Rule, Section, matching
from moorage.api.v1alpha1.transport import Tls, Tracing

_SUFFIXES = {
    "m": Decimal("0.001"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}

_QUANTITY = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")

Quantity = Annotated[
    Annotated[str, Field(max_length=27)] | int,
    Obeys(
        Rule(
            cel=f"type(self) == int ? self >= 0 : self.matches(r'^({_QUANTITY.pattern})$')",
            message="expected a quantity such as 500m, 2 or 4Gi",
            check=lambda value: value >= 0 if isinstance(value, int) else _QUANTITY.fullmatch(value) is not None,
            of="",
        )
    ),
]
"""A Kubernetes quantity: `500m`, `2`, `4Gi`. In YAML a bare number is fine."""


def amount(quantity: str | int) -> Decimal:
    """A quantity as a plain number (cores, bytes)."""
    text = str(quantity)
    digits = text.rstrip("mkKMGTi")
    return Decimal(digits) * _SUFFIXES[text[len(digits) :]]


Image = Annotated[
    str,
    Field(max_length=512),
    matching(
        r"[a-z0-9]([A-Za-z0-9._:/-]*[A-Za-z0-9])?(@sha256:[0-9a-f]{64})?",
        "expected an image reference, for instance registry.example.com/team/predictor:1.0",
    ),
]
ExtendedResource = Annotated[
    str,
    Field(max_length=63),
    matching(r"[a-z0-9.-]+/[A-Za-z0-9._-]+", "expected an extended resource, for instance nvidia.com/gpu"),
]


class Requests(Section):
    """What the scheduler sets aside for one pod."""

    cpu: Quantity = Field(default="1", description="CPU cores set aside, for instance 500m or 2.")
    memory: Quantity = Field(default="2Gi", description="Memory set aside, for instance 2Gi.")
    ephemeral_storage: Quantity | None = Field(
        default=None, alias="ephemeral-storage", description="Disk set aside for the container's own files."
    )


class Limits(Section):
    """What one pod may use at most."""

    cpu: Quantity | None = Field(
        default=None,
        description="CPU cores at most. Without it a pod may use idle cores of its node, which is usually wanted.",
    )
    memory: Quantity = Field(
        default="4Gi", description="Memory at most; a pod that needs more is killed and restarted."
    )
    ephemeral_storage: Quantity | None = Field(
        default=None, alias="ephemeral-storage", description="Disk at most for the container's own files."
    )


def _at_most(request: str | int | None, limit: str | int | None) -> bool:
    return request is None or limit is None or amount(request) <= amount(limit)


def _within_limit(cel_field: str, python_field: str, word: str) -> Rule:
    return Rule(
        cel=(
            f"!has(self.requests.{cel_field}) || !has(self.limits.{cel_field}) || "
            f"quantity(string(self.requests.{cel_field})).compareTo(quantity(string(self.limits.{cel_field}))) <= 0"
        ),
        message=f"requests.{word} is larger than limits.{word}: lower the request or raise the limit",
        check=lambda r: _at_most(getattr(r.requests, python_field), getattr(r.limits, python_field)),
    )


class Resources(Section):
    """Requests and limits of the predictor container."""

    requests: Requests = Field(default_factory=Requests, description="What the scheduler sets aside for one pod.")
    limits: Limits = Field(default_factory=Limits, description="What one pod may use at most.")

    rules: ClassVar[tuple[Rule, ...]] = (
        _within_limit("cpu", "cpu", "cpu"),
        _within_limit("memory", "memory", "memory"),
        _within_limit("ephemeral__dash__storage", "ephemeral_storage", "ephemeral-storage"),
    )


class Batching(Section):
    """Dynamic batching: rows of several requests run in one forward pass."""

    max_batch_size: int | None = Field(
        default=None, ge=1, le=1024, description="Most rows of one forward pass; 8 without it."
    )
    max_queue_delay: Duration | None = Field(
        default=None,
        description="Longest wait of a row for company while the model is idle, for instance 5ms; none without it.",
    )
    max_queue_size: int | None = Field(
        default=None, ge=1, le=100000, description="Rows that may wait; the next one is answered 503 with Retry-After."
    )


class Gpu(Section):
    """Accelerators of one pod."""

    count: int = Field(ge=1, le=16, description="GPUs of one pod.")
    resource_name: ExtendedResource | None = Field(
        default=None,
        description="The extended resource, for instance nvidia.com/gpu or nvidia.com/mig-1g.10gb.",
    )


class Toleration(Section):
    """Lets pods onto nodes with a matching taint; as in a Pod."""

    key: str | None = Field(default=None, max_length=316, description="The taint's key; every key if absent.")
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="How value is compared.")
    value: str | None = Field(default=None, max_length=63, description="The taint's value, for operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect; every effect if absent."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, le=31536000, description="How long a pod stays after a NoExecute taint appears."
    )


class Placement(Section):
    """Which nodes the pods may run on."""

    node_selector: dict[str, Annotated[str, Field(max_length=63)]] | None = Field(
        default=None, max_length=32, description="Labels that a node must have."
    )
    tolerations: list[Toleration] | None = Field(
        default=None, max_length=32, description="Taints that the pods tolerate."
    )
    priority_class_name: DnsName | None = Field(default=None, description="The pods' PriorityClass.")


class Predictor(Section):
    """How one copy of the model runs."""

    runtime: Literal["torch", "torchserve", "custom"] = Field(
        default="torch",
        description="The server: Moorage's own PyTorch predictor, TorchServe, or a container of your own.",
    )
    image: Image | None = Field(
        default=None,
        description="Predictor image to use instead of the operator's default, for instance one that holds a pkg:// package.",
    )
    image_pull_secrets: list[DnsName] | None = Field(
        default=None, max_length=8, description="Secrets of this namespace that the kubelet uses to pull the image."
    )
    resources: Resources = Field(default_factory=Resources, description="CPU and memory of one pod.")
    batching: Batching | None = Field(default=None, description="Dynamic batching.")
    precision: Literal["fp32", "bf16", "fp16", "int8", "auto"] | None = Field(
        default=None,
        description="Number format of the forward pass, fp32 without it; auto measures and takes the fastest that answers "
        "as fp32 does.",
    )
    request_log: Literal["all", "errors", "off"] | None = Field(
        default=None,
        description="Which requests get a JSON line in the pod's log. Without it all in a cluster, and none on a laptop.",
    )
    tls: Tls | None = Field(
        default=None,
        description="TLS on the ports of requests, in a cluster; plain without it. KServe's own route does not speak TLS to pods.",
    )
    tracing: Tracing | None = Field(default=None, description="Traces for OpenTelemetry; none without it.")
    gpu: Annotated[Gpu | None, NOT_YET] = Field(default=None, description="Accelerators of one pod.")
    placement: Annotated[Placement | None, NOT_YET] = Field(
        default=None, description="Which nodes the pods may run on."
    )
