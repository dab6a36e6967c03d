"""`spec.scaling`: how many copies run."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moorage.api.v1alpha1.section import NOT_YET, Duration, Rule, Section

MAX_REPLICAS = 1000
DEFAULT_MIN_REPLICAS = 1
DEFAULT_MAX_REPLICAS = 3


class Scaling(Section):
    """How many copies run: a fixed number (`replicas`), or a range that follows the load (`minReplicas`, `maxReplicas`)."""

    replicas: int | None = Field(
        default=None,
        ge=1,
        le=MAX_REPLICAS,
        description="A fixed number of copies; `kubectl scale` writes it. Not together with minReplicas or maxReplicas.",
    )
    min_replicas: int | None = Field(
        default=None,
        ge=0,
        le=MAX_REPLICAS,
        description=f"Fewest copies; 0 sleeps when idle. Defaults to {DEFAULT_MIN_REPLICAS} unless replicas is set.",
    )
    max_replicas: int | None = Field(
        default=None,
        ge=1,
        le=MAX_REPLICAS,
        description=f"Most copies. Defaults to {DEFAULT_MAX_REPLICAS}, or to minReplicas if that is larger, unless replicas is set.",
    )
    scale_metric: Literal["cpu", "memory", "concurrency", "rps", "latency", "queue", "gpu"] | None = Field(
        default=None, description="What the autoscaler looks at. Defaults to cpu."
    )
    scale_target: int | None = Field(
        default=None,
        ge=1,
        le=1000000,
        description="The metric's value per copy that the autoscaler aims for: percent of the request for cpu and memory. Defaults to 80.",
    )
    scale_to_zero_after: Annotated[Duration | None, NOT_YET] = Field(
        default=None, description="How long a model with minReplicas 0 stays up without a request, for instance 5m."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.replicas) || (!has(self.minReplicas) && !has(self.maxReplicas))",
            message="replicas fixes the number of copies: remove minReplicas and maxReplicas, or remove replicas",
            check=lambda s: s.replicas is None or (s.min_replicas is None and s.max_replicas is None),
        ),
        Rule(
            cel="!has(self.replicas) || (!has(self.scaleMetric) && !has(self.scaleTarget))",
            message="replicas fixes the number of copies: remove scaleMetric and scaleTarget, or use minReplicas and maxReplicas",
            check=lambda s: s.replicas is None or (s.scale_metric is None and s.scale_target is None),
        ),
        Rule(
            cel="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            message="minReplicas is larger than maxReplicas: lower minReplicas or raise maxReplicas",
            check=lambda s: s.min_replicas is None or s.max_replicas is None or s.min_replicas <= s.max_replicas,
        ),
        Rule(
            cel="!has(self.scaleTarget) || (has(self.scaleMetric) && !(self.scaleMetric in ['cpu', 'memory'])) || self.scaleTarget <= 100",
            message="scaleTarget is a percentage for scaleMetric cpu and memory: use a value from 1 to 100",
            check=lambda s: (
                s.scale_target is None or s.scale_metric not in (None, "cpu", "memory") or s.scale_target <= 100
            ),
        ),
        Rule(
            cel="!has(self.scaleToZeroAfter) || (has(self.minReplicas) && self.minReplicas == 0)",
            message="scaleToZeroAfter needs minReplicas: 0: set minReplicas to 0 or remove scaleToZeroAfter",
            check=lambda s: s.scale_to_zero_after is None or s.min_replicas == 0,
        ),
    )

    def bounds(self) -> tuple[int, int]:
        """The fewest and the most copies, with the defaults that depend on other fields filled in."""
        if self.replicas is not None:
            return self.replicas, self.replicas
        low = DEFAULT_MIN_REPLICAS if self.min_replicas is None else self.min_replicas
        if self.max_replicas is None:
            return low, max(low, DEFAULT_MAX_REPLICAS)
        if self.min_replicas is None:
            return min(low, self.max_replicas), self.max_replicas
        return low, self.max_replicas
