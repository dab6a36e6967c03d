"""What a deployment asks of its cluster beside Kubernetes itself. Judged by the operator and by `moor` alike. Pure."""

from dataclasses import dataclass

from moorage.api.features import GPU, KSERVE, NVIDIA, RESOURCE_METRICS, Feature
from moorage.api.v1alpha1 import ModelDeployment
from moorage.render.settings import Capabilities


@dataclass(frozen=True)
class Need:
    """A feature, the field that asks for it, and what will not work without it."""

    feature: Feature
    field: str
    without: str
    extended_resource: str = ""
    """What a node must offer, if that is what is asked for."""

    @property
    def message(self) -> str:
        """For a condition: what is asked for, what is missing, what it means, what to do."""
        served = f"the cluster does not serve {self.feature.group}/{self.feature.resource}"
        lacks = f"no node offers {self.extended_resource}" if self.extended_resource else served
        return f"{self.field} needs {self.feature.name}, and {lacks}: {self.without}; {self.feature.install}"

    def met_by(self, capabilities: Capabilities) -> bool:
        """Whether it is there, or nobody can tell."""
        if self.extended_resource:
            offered = capabilities.extended_resources
            return offered is None or self.extended_resource in offered
        return capabilities.features is None or self.feature.name in capabilities.features


def needs(deployment: ModelDeployment) -> list[Need]:
    """Everything that this deployment asks for, in the order of the table of features."""
    found = [Need(KSERVE, "spec.model", "nothing can be served")]
    scaling = deployment.spec.scaling
    low, high = scaling.bounds()
    if low != high and scaling.scale_metric in (None, "cpu", "memory"):
        found.append(Need(RESOURCE_METRICS, "spec.scaling", f"it stays at {low} of {high} copies"))
    if gpu := deployment.spec.predictor.gpu:
        found.append(Need(GPU, "spec.predictor.gpu", "no pod finds a place", gpu.resource_name or NVIDIA))
    return found


def missing(deployment: ModelDeployment, capabilities: Capabilities) -> tuple[Need, ...] | None:
    """What is asked for and not there; None while it is not known what the cluster has."""
    if capabilities.features is None:
        return None
    return tuple(need for need in needs(deployment) if not need.met_by(capabilities))
