"""The resource itself: `ModelDeployment`, group `moorage.dev`, version `v1alpha1`.

YAML -> ModelDeployment.model_validate -> render -> ...      (`crd.py` turns the same classes into the CRD)
"""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from moorage.api.v1alpha1.model import RESERVED_NAMES, Model
from moorage.api.v1alpha1.monitoring import Monitoring
from moorage.api.v1alpha1.predictor import Predictor
from moorage.api.v1alpha1.rate_limits import RATE_LIMIT_RULES, RateLimiting, RateLimits
from moorage.api.v1alpha1.rollout import VARIANT_RULES, Rollout, Variants
from moorage.api.v1alpha1.runtimes import RUNTIME_RULES
from moorage.api.v1alpha1.scaling import Scaling
from moorage.api.v1alpha1.section import NOT_YET, Rule, Section
from moorage.api.v1alpha1.serving import Access, Cache, Health

GROUP = "moorage.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ModelDeployment"
PLURAL = "modeldeployments"

MAX_NAME_LENGTH = 48
"""KServe labels pods `app: isvc.NAME-predictor`; a label value has at most 63 characters, 15 of which are not ours."""

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")


class Spec(Section):
    """What is wanted."""

    model: Model = Field(description="The network and its files.")
    predictor: Predictor = Field(default_factory=Predictor, description="How one copy of the model runs.")
    scaling: Scaling = Field(default_factory=Scaling, description="How many copies run.")
    health: Health = Field(default_factory=Health, description="The probes of the predictor container.")
    rate_limits: RateLimits | None = Field(
        default=None,
        description="How often callers may call. All of the rules hold; see docs/reference/rate-limits.md.",
    )
    rate_limiting: RateLimiting | None = Field(default=None, description="Where rateLimits are counted.")
    access: Access | None = Field(
        default=None, description="Who may call. Without it whoever the network lets through may do everything."
    )
    rollout: Annotated[Rollout | None, NOT_YET] = Field(
        default=None, description="How a new version replaces the old one."
    )
    variants: Annotated[Variants | None, NOT_YET] = Field(
        default=None, description="Arms of an A/B comparison with their shares of the traffic."
    )
    cache: Annotated[Cache | None, NOT_YET] = Field(default=None, description="Answers kept for equal requests.")
    monitoring: Annotated[Monitoring | None, NOT_YET] = Field(
        default=None, description="Dashboards, alerts and drift checks."
    )

    rules: ClassVar[tuple[Rule, ...]] = (*VARIANT_RULES, *RATE_LIMIT_RULES, *RUNTIME_RULES)


class Condition(BaseModel):
    """One fact about the resource, as the Kubernetes API conventions define it."""

    model_config = ConfigDict(populate_by_name=True)

    type: str = Field(max_length=316, description="What the condition is about, for instance Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(
        max_length=1024, min_length=1, description="One CamelCase word; documented in docs/reference/conditions.md."
    )
    message: str = Field(max_length=32768, description="A sentence for people: the cause and what to do.")
    last_transition_time: str = Field(
        alias="lastTransitionTime", description="When status last changed (RFC 3339, UTC)."
    )
    observed_generation: int | None = Field(
        default=None,
        alias="observedGeneration",
        ge=0,
        description="The metadata.generation that this condition speaks of.",
    )


class Status(BaseModel):
    """What is. Written by the operator alone."""

    model_config = ConfigDict(populate_by_name=True)

    conditions: list[Condition] | None = Field(
        default=None, max_length=32, description="Accepted, PredictorReady, RoutesReady and their summary Ready."
    )
    url: str | None = Field(
        default=None, description="Where the model answers; append /v1/models/NAME:predict or /v2/models/NAME/infer."
    )
    replicas: int | None = Field(default=None, description="Copies that exist now, ready or not.")
    selector: str | None = Field(
        default=None, description="Label selector of the pods, for autoscalers that use the scale subresource."
    )
    version: str | None = Field(default=None, description="The version label that is being served.")
    observed_generation: int | None = Field(
        default=None,
        alias="observedGeneration",
        description="The metadata.generation that the operator has acted upon; -1 until it has looked.",
    )


class Metadata(BaseModel):
    """The part of `metadata` that Moorage reads; the API server owns the rest."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(min_length=1, max_length=253)
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


class ModelDeployment(Section):
    """A model and how it is served: one of these becomes an inference service."""

    api_version: Literal["moorage.dev/v1alpha1"]
    kind: Literal["ModelDeployment"]
    metadata: Metadata
    spec: Spec = Field(description="What is wanted.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
            message=f"metadata.name is longer than {MAX_NAME_LENGTH} characters, too long for the labels of its pods: shorten it",
            check=lambda d: len(d.metadata.name) <= MAX_NAME_LENGTH,
        ),
        Rule(
            cel="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            message="metadata.name must start with a letter and hold only lower-case letters, digits and '-': rename it",
            check=lambda d: _NAME.match(d.metadata.name) is not None,
        ),
        Rule(
            cel="has(self.spec.model.name) || !(self.metadata.name in ['async', 'batch'])",
            message="metadata.name is async or batch, which are words of the gateway's paths: rename it or set spec.model.name",
            check=lambda d: d.spec.model.name is not None or d.metadata.name not in RESERVED_NAMES,
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _status_is_not_input(cls, value: Any) -> Any:
        return {k: v for k, v in value.items() if k != "status"} if isinstance(value, dict) else value

    @property
    def model_name(self) -> str:
        """The name in every URL."""
        return self.spec.model.name or self.metadata.name

    def check_update(self, old: Self) -> list[str]:
        """The messages of the transition rules that replacing `old` by this would break."""
        return [
            r.message
            for r in type(self.spec.model).rules
            if r.transition and not r.check(self.spec.model, old.spec.model)
        ]
