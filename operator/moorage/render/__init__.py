"""ModelDeployment -> the Kubernetes objects that serve it. Pure: the same input gives the same bytes, and nothing is read.

controller and `moor render` -> refusal() -> render() -> [manifest, ...] -> applied, or shown
"""

from moorage.api.v1alpha1 import ModelDeployment
from moorage.render.inference_service import inference_service
from moorage.render.names import OWNER_LABEL, POD_HASH, Manifest, child_name, pod_labels
from moorage.render.needs import Need, missing
from moorage.render.policy import Refusal, refusal
from moorage.render.predictor_settings import local_settings, predictor_settings
from moorage.render.runtime import serving_runtime
from moorage.render.settings import Capabilities, NetworkSettings, RenderSettings
from moorage.render.surroundings import network_policy, pod_disruption_budget, service_account

CHILD_KINDS = (
    ("v1", "ServiceAccount"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
    ("serving.kserve.io/v1alpha1", "ServingRuntime"),
    ("serving.kserve.io/v1beta1", "InferenceService"),
)
"""Every (apiVersion, kind) that render() can make; what is pruned is looked for among these."""

CHILD_PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "NetworkPolicy": "networkpolicies",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ServingRuntime": "servingruntimes",
    "InferenceService": "inferenceservices",
}
"""The same kinds as URLs name them."""


def render(
    deployment: ModelDeployment, settings: RenderSettings | None = None, capabilities: Capabilities | None = None
) -> list[Manifest]:
    """The objects of an accepted deployment, in the order in which they are applied: the InferenceService last.

    Args:
        deployment: one that `refusal()` has nothing against.
        settings: the administrator's choices.
        capabilities: what the cluster can do.
    """
    settings, capabilities = settings or RenderSettings(), capabilities or Capabilities()
    runtime = serving_runtime(deployment, settings)
    budget = pod_disruption_budget(deployment)
    return [
        service_account(deployment),
        *([network_policy(deployment, settings.network)] if settings.network.enabled else []),
        *([budget] if budget else []),
        runtime,
        inference_service(deployment, runtime, capabilities),
    ]


__all__ = [
    "CHILD_KINDS",
    "CHILD_PLURALS",
    "OWNER_LABEL",
    "POD_HASH",
    "Capabilities",
    "Manifest",
    "Need",
    "NetworkSettings",
    "Refusal",
    "RenderSettings",
    "child_name",
    "local_settings",
    "missing",
    "pod_labels",
    "predictor_settings",
    "refusal",
    "render",
]
