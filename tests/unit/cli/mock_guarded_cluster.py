"""A mock for a cluster without the deployment, in which dry runs are allowed and no child may be read."""

from moorage.cli.kube import Body, Kube, KubeError


class MockGuardedCluster(Kube):
    """`status` of every refusal."""

    def __init__(self, status: int) -> None:
        self.status = status

    def get(self, path: str, **query: str) -> Body | None:
        raise KubeError(self.status, "no")

    def model_deployment(self, namespace: str, name: str) -> Body | None:
        return None

    def apply(self, path: str, body: Body, field_manager: str, *, dry_run: bool = False) -> Body:
        assert dry_run
        return {**body, "metadata": {**body["metadata"], "uid": "1"}}
