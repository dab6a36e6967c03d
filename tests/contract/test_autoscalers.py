"""Who decides the number of copies: between its bounds the autoscaler, and nothing of ours ever takes it back.

Kubernetes' own autoscaler runs (in kube-controller-manager). There is no load to measure here, but it enforces bounds without.
"""

import pytest
from tests.contract.controller_process import USER
from tests.contract.deployments import apply
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.plane import Cluster, ControlPlane

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve", "controller")]


def serves(api: Api, namespace: str, copies: int) -> bool:
    """Ready for the latest spec, with that many copies in the Deployment and in the status."""
    mdep = api.get("ModelDeployment", namespace, "cats")
    ready = condition(mdep, "Ready")
    wanted = api.get("Deployment", namespace, "cats-predictor")["spec"]["replicas"]
    return (
        (wanted, mdep["status"]["replicas"]) == (copies, copies)
        and ready.get("status") == "True"
        and ready["observedGeneration"] == mdep["metadata"]["generation"]
    )


def scale(api: Api, namespace: str, copies: int) -> None:
    """As an autoscaler does it."""
    path = api.path("Deployment", namespace, "cats-predictor") + "/scale"
    api.request("PATCH", path, {"spec": {"replicas": copies}}, "application/merge-patch+json")


def test_between_its_bounds_the_autoscalers_number_stays_through_edits_and_outside_of_them_it_moves(
    api: Api, namespace: str, control_plane: Cluster
) -> None:
    mark = control_plane.audit.mark() if isinstance(control_plane, ControlPlane) and control_plane.audit else None
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 5})
    eventually(lambda: serves(api, namespace, 1), timeout_s=60)
    scale(api, namespace, 3)
    eventually(lambda: serves(api, namespace, 3))
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 5}, predictor={"image": "example.com/predictor:2"})
    eventually(lambda: serves(api, namespace, 3), timeout_s=60)
    [container] = api.get("Deployment", namespace, "cats-predictor")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "example.com/predictor:2"
    apply(api, namespace, scaling={"minReplicas": 4, "maxReplicas": 5}, predictor={"image": "example.com/predictor:2"})
    eventually(lambda: serves(api, namespace, 4), timeout_s=60)
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 2}, predictor={"image": "example.com/predictor:2"})
    eventually(lambda: serves(api, namespace, 2), timeout_s=60)
    if mark is not None and control_plane.audit:
        ours = {each.resource for each in control_plane.audit.writes(since=mark, user=USER, namespace=namespace)}
        assert {"deployments", "deployments/scale", "horizontalpodautoscalers"}.isdisjoint(ours)


def test_an_autoscaler_of_the_modeldeployment_itself_scales_it_through_its_scale_subresource(
    api: Api, namespace: str
) -> None:
    apply(api, namespace, scaling={"replicas": 1})
    eventually(lambda: serves(api, namespace, 1), timeout_s=60)
    api.create(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "ours", "namespace": namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "moorage.dev/v1alpha1", "kind": "ModelDeployment", "name": "cats"},
                "minReplicas": 3,
                "maxReplicas": 5,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                    }
                ],
            },
        }
    )
    eventually(lambda: serves(api, namespace, 3), timeout_s=60)
    assert api.get("ModelDeployment", namespace, "cats")["spec"]["scaling"]["replicas"] == 3
    predictor = api.get("InferenceService", namespace, "cats")["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (3, 3)
    status = eventually(lambda: api.get("HorizontalPodAutoscaler", namespace, "ours").get("status"))
    eventually(lambda: api.get("HorizontalPodAutoscaler", namespace, "ours")["status"]["currentReplicas"] == 3)
    assert condition({"status": status}, "AbleToScale")["status"] == "True"
