"""Reads everything that explains one ModelDeployment, as whoever the kubeconfig names. Called by `command.py`."""

from dataclasses import dataclass, field

from moorage.cli.errors import UserError
from moorage.cli.kube import Body, Kube, KubeError
from moorage.render import OWNER_LABEL


@dataclass(frozen=True)
class Found:
    """One ModelDeployment and what serves it. What may not be read is told in `unread`."""

    model_deployment: Body
    inference_service: Body | None = None
    deployment: Body | None = None
    pods: list[Body] = field(default_factory=list)
    events: dict[str, list[Body]] = field(default_factory=dict)
    """By the uid of the object that they are about, oldest first."""
    unread: tuple[str, ...] = ()


def gather(kube: Kube, namespace: str, name: str) -> Found:
    """Five requests, whatever the number of pods.

    Raises:
        UserError: there is no such ModelDeployment.
        KubeError: the API server does not let it be read.
    """
    model_deployment = kube.model_deployment(namespace, name)
    if model_deployment is None:
        raise UserError(f"expected a ModelDeployment {name} in the namespace {namespace}, found none")
    reader = _Reader(kube)
    apps, serving = f"/apis/apps/v1/namespaces/{namespace}", f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}"
    service = reader.one("InferenceServices", f"{serving}/inferenceservices/{name}")
    deployment = reader.one("Deployments", f"{apps}/deployments/{name}-predictor")
    pods = reader.all("pods", f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"{OWNER_LABEL}={name}")
    found = [model_deployment, *filter(None, [service, deployment]), *pods]
    uids = {body["metadata"]["uid"] for body in found}
    events: dict[str, list[Body]] = {}
    for event in sorted(reader.all("events", f"/api/v1/namespaces/{namespace}/events"), key=when):
        uid = event.get("involvedObject", {}).get("uid")
        if uid in uids:
            events.setdefault(uid, []).append(event)
    pods.sort(key=lambda pod: str(pod["metadata"]["name"]))
    return Found(model_deployment, service, deployment, pods, events, tuple(reader.unread))


def when(event: Body) -> str:
    """When an event happened last, as Kubernetes writes times; of its three places the first that is filled."""
    times = (
        event.get("series", {}).get("lastObservedTime") if event.get("series") else None,
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    )
    return str(next(filter(None, times), ""))


class _Reader:
    """Goes on where something may not be read, and remembers it."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.unread: list[str] = []

    def one(self, what: str, path: str) -> Body | None:
        try:
            return self._kube.get(path)
        except KubeError as error:
            self._forbidden(what, error)
            return None

    def all(self, what: str, path: str, **query: str) -> list[Body]:
        try:
            return self._kube.items(path, **query)
        except KubeError as error:
            self._forbidden(what, error)
            return []

    def _forbidden(self, what: str, error: KubeError) -> None:
        if error.status != 403:
            raise error
        self.unread.append(what)
