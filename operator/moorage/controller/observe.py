"""Everything that judging one ModelDeployment needs, read from the store in one go."""

from dataclasses import dataclass, field

from moorage.controller.cluster import Body, Resource
from moorage.controller.store import Key, Store
from moorage.render import CHILD_KINDS, OWNER_LABEL

MODEL_DEPLOYMENT = Resource("moorage.dev/v1alpha1", "ModelDeployment", "modeldeployments")
POD = Resource("v1", "Pod", "pods")
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
EVENT = Resource("v1", "Event", "events")

CHILDREN = {
    kind: Resource(api_version, kind, plural)
    for (api_version, kind), plural in zip(
        CHILD_KINDS,
        ("serviceaccounts", "networkpolicies", "poddisruptionbudgets", "servingruntimes", "inferenceservices"),
        strict=True,
    )
}
"""The kinds of children, in the order in which they are applied."""


@dataclass(frozen=True)
class Observed:
    """A ModelDeployment's children, KServe's Deployment and the pods, as they were last seen."""

    children: dict[str, list[Body]] = field(default_factory=dict)
    deployments: list[Body] = field(default_factory=list)
    pods: list[Body] = field(default_factory=list)

    @property
    def inference_service(self) -> Body | None:
        """The InferenceService, if it exists: the one with the owner's name, not somebody's copy with its label."""
        found = self.children.get("InferenceService", ())
        return next(
            (body for body in found if body["metadata"]["name"] == body["metadata"]["labels"][OWNER_LABEL]), None
        )


def observe(store: Store, key: Key) -> Observed:
    """The present view of one deployment's children and pods, each in the order of their names."""

    def named(kind: str) -> list[Body]:
        return sorted(store.owned(key, kind), key=lambda body: str(body["metadata"]["name"]))

    theirs = f"{key.name}-predictor"  # KServe's name for it; anything else with our label is not its Deployment
    return Observed(
        children={kind: named(kind) for kind in CHILDREN},
        deployments=[body for body in named("Deployment") if body["metadata"]["name"] == theirs],
        pods=named("Pod"),
    )
