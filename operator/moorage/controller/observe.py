"""Everything that judging one ModelDeployment needs, read from the store in one go."""

from dataclasses import dataclass, field
from functools import partial

from moorage.controller.cluster import Body, Resource
from moorage.controller.store import Key, Store, key_of, routed_since, url_of
from moorage.render import CHILD_KINDS, CHILD_PLURALS, OWNER_LABEL

MODEL_DEPLOYMENT = Resource("moorage.dev/v1alpha1", "ModelDeployment", "modeldeployments")
POD = Resource("v1", "Pod", "pods")
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
EVENT = Resource("v1", "Event", "events")

CHILDREN = {kind: Resource(api_version, kind, CHILD_PLURALS[kind]) for api_version, kind in CHILD_KINDS}
"""The kinds of children, in the order in which they are applied."""


@dataclass(frozen=True)
class Observed:
    """A ModelDeployment's children, KServe's Deployment and the pods, as they were last seen."""

    children: dict[str, list[Body]] = field(default_factory=dict)
    deployments: list[Body] = field(default_factory=list)
    pods: list[Body] = field(default_factory=list)
    rival: Key | None = None
    """Who had this one's URL first, if anybody."""

    @property
    def inference_service(self) -> Body | None:
        """The InferenceService, if it exists: the one with the owner's name, not somebody's copy with its label."""
        found = self.children.get("InferenceService", ())
        return next(
            (body for body in found if body["metadata"]["name"] == body["metadata"]["labels"][OWNER_LABEL]), None
        )

    @property
    def deployment_mode(self) -> str | None:
        """How KServe says that it runs the live InferenceService, if it has said so."""
        service = self.inference_service
        return service.get("status", {}).get("deploymentMode") if service else None


def observe(store: Store, key: Key) -> Observed:
    """The present view of one deployment's children and pods, each in the order of their names."""

    def named(kind: str) -> list[Body]:
        return sorted(store.owned(key, kind), key=lambda body: str(body["metadata"]["name"]))

    services = named("InferenceService")
    theirs = f"{key.name}-predictor"  # KServe's name for it; anything else with our label is not its Deployment
    return Observed(
        children={kind: named(kind) for kind in CHILDREN},
        deployments=[body for body in named("Deployment") if body["metadata"]["name"] == theirs],
        pods=named("Pod"),
        rival=next((rival for body in services if key_of(body) == key and (rival := _rival(store, body))), None),
    )


def _rival(store: Store, service: Body) -> Key | None:
    url = url_of(service)
    first = min(store.at(url), key=partial(_turn, store), default=service) if url else service
    return None if key_of(first) == key_of(service) else key_of(first)


def _turn(store: Store, service: Body) -> tuple[int, str, str, Key]:
    """Whose turn it is at a URL: who says that it is theirs, longest first; who might (its owner is not known yet); the oldest.

    So it stays with whom it has served, whoever comes, or gets up, later. Of one second the first by its key.
    """
    owner = store.get(MODEL_DEPLOYMENT.kind, key_of(service))
    since = routed_since(owner) if owner and url_of(owner) == url_of(service) else ""
    rank = 0 if since else 2 if owner else 1
    return rank, since, service["metadata"].get("creationTimestamp", ""), key_of(service)
