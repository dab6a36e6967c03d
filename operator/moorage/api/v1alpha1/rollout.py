"""`spec.rollout` and `spec.variants`: how a new version comes in, and how two are compared."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moorage.api.v1alpha1.model import StorageUri
from moorage.api.v1alpha1.section import Duration, Rule, Section, VersionLabel, matching

VariantName = Annotated[
    str,
    Field(max_length=20),
    matching(r"[a-z]([-a-z0-9]*[a-z0-9])?", "expected lower-case letters, digits and '-', beginning with a letter"),
]


class Rollout(Section):
    """How a new version replaces the old one."""

    strategy: Literal["rolling", "canary", "blueGreen"] = Field(description="How a new version replaces the old one.")
    canary_traffic_percent: int | None = Field(
        default=None, ge=0, le=100, description="Share of the requests that the new version gets, for strategy canary."
    )
    analysis_after: Duration | None = Field(
        default=None, description="How long a new version is watched before the next step."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.canaryTrafficPercent) || self.strategy == 'canary'",
            message="canaryTrafficPercent needs strategy: canary: change strategy or remove canaryTrafficPercent",
            check=lambda r: r.canary_traffic_percent is None or r.strategy == "canary",
        ),
    )


class Variant(Section):
    """One arm of an A/B comparison."""

    name: VariantName = Field(description="The arm's name.")
    weight: int = Field(
        ge=0, le=100, description="Percent of the callers that get this arm; all weights add up to 100."
    )
    storage_uri: StorageUri | None = Field(
        default=None,
        description="The arm's weights; those of spec.model if absent.",
    )
    version: VersionLabel | None = Field(
        default=None,
        description="The arm's version label.",
    )


Variants = Annotated[list[Variant], Field(min_length=2, max_length=10)]

VARIANT_RULES = (
    Rule(
        cel="!has(self.variants) || self.variants.map(v, v.weight).sum() == 100",
        message="the weights of variants must add up to 100: change one of them",
        check=lambda s: s.variants is None or sum(v.weight for v in s.variants) == 100,
    ),
    Rule(
        cel="!has(self.variants) || self.variants.all(a, self.variants.exists_one(b, a.name == b.name))",
        message="two variants have the same name: give each a name of its own",
        check=lambda s: s.variants is None or len({v.name for v in s.variants}) == len(s.variants),
    ),
)
