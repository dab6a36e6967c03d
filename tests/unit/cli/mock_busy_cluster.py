"""A mock for a cluster in which somebody else writes just before we do."""

from moorage.cli.kube import Body, Kube, KubeError


class MockBusyCluster(Kube):
    """`conflicts`: before how many of our writes somebody else writes."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts, self.version, self.calls = conflicts, 1, list[str]()

    def get(self, path: str, **query: str) -> Body | None:
        kubectl = {"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": {"f:spec": {}}}
        return {"metadata": {"name": "cats", "resourceVersion": str(self.version), "managedFields": [kubectl]}}

    def merge(self, path: str, patch: Body, field_manager: str, *, dry_run: bool = False) -> Body:
        self.calls.append(f"merge at {patch['metadata']['resourceVersion']}")
        if self.conflicts:
            self.conflicts, self.version = self.conflicts - 1, self.version + 1
            raise KubeError(409, "the object has been modified")
        return {}

    def apply(self, path: str, body: Body, field_manager: str, *, dry_run: bool = False) -> Body:
        self.calls.append("apply")
        return body
