"""What Argo CD and Flux make of our status, by their own rules.

Argo CD runs the Lua of manifests/gitops/argocd-cm.yaml in a Lua 5.1, and so does this. Flux uses kstatus, whose rules for
kinds that it does not know are few; `kstatus` below restates them.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import lua51
from tests.builders import model_deployment, stored

from moorage.api import conditions as c
from moorage.api.crd import custom_resource_definition
from moorage.controller.observe import Observed
from moorage.controller.status import Judged, evaluate
from moorage.render import Refusal, render

CONFIG = Path(__file__).parents[3] / "manifests" / "gitops" / "argocd-cm.yaml"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
READY = [{"type": "PredictorReady", "status": "True"}, {"type": "IngressReady", "status": "True"}]
GOOD = {"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def argo(body: dict[str, Any]) -> tuple[str, str]:
    """The health and the message that Argo CD shows."""
    [(key, script)] = yaml.safe_load(CONFIG.read_text())["data"].items()
    assert key == "resource.customizations.health.moorage.dev_ModelDeployment"
    runtime = lua51.LuaRuntime()
    runtime.globals()["obj"] = runtime.table_from(body, recursive=True)
    health = runtime.execute(script)
    return health["status"], health["message"]


def kstatus(body: dict[str, Any]) -> str:
    """sigs.k8s.io/cli-utils/pkg/kstatus for a kind that it does not know: generation, Reconciling, Stalled, then Ready."""
    status = body.get("status", {})
    observed = status.get("observedGeneration")
    if observed is not None and observed != body["metadata"]["generation"]:
        return "InProgress"
    for condition in status.get("conditions", []):
        if condition["status"] == "True" and condition["type"] in ("Reconciling", "Stalled"):
            return "InProgress" if condition["type"] == "Reconciling" else "Failed"
    ready = next((item["status"] for item in status.get("conditions", []) if item["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"


def ended(code: int, message: str) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": "Error", "message": message}}
    return {"metadata": {"name": "b"}, "status": {"containerStatuses": [{"name": "kserve-container", "state": state}]}}


def unschedulable() -> dict[str, Any]:
    return {"metadata": {"name": "b"}, "status": {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable"}]}}


def model(*pods: dict[str, Any], theirs: list[dict[str, Any]] | None = None, **judged: Any) -> dict[str, Any]:
    service = {**render(model_deployment())[-1], "status": {"conditions": theirs or [], "url": "http://cats"}}
    template = {"metadata": {"annotations": service["spec"]["predictor"]["annotations"]}}
    deployment = {"metadata": {"name": "cats-predictor", "generation": 0}, "spec": {"template": template}}
    observed = Observed(children={"InferenceService": [service]}, deployments=[deployment], pods=list(pods))
    looked = Judged(**{"name": "cats", "generation": 1, "version": "1", **judged})
    return {**stored(), "status": evaluate(looked, observed, {}, NOW)}


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "ready": (model(GOOD, theirs=READY), "Healthy", "Current"),
    "ready with a copy that fails": (model(GOOD, ended(1, "x"), theirs=READY), "Healthy", "Current"),
    "being made": (model(), "Progressing", "InProgress"),
    "waiting for a node": (model(unschedulable()), "Progressing", "InProgress"),
    "a model that cannot be loaded": (model(ended(2, "corrupt")), "Degraded", "Failed"),
    "a spec that is refused": (model(failure=Refusal(c.INVALID_SPEC, "no")), "Degraded", "Failed"),
    "a quota, which is tried again": (model(failure=Refusal(c.APPLY_FAILED, "no")), "Progressing", "InProgress"),
    "an edit that was not looked at": (model(GOOD, theirs=READY, generation=0), "Progressing", "InProgress"),
}


@pytest.mark.parametrize(("body", "health", "status"), CASES.values(), ids=CASES)
def test_both_tools_see_what_is_so(body: dict[str, Any], health: str, status: str) -> None:
    assert (argo(body)[0], kstatus(body)) == (health, status)


def test_argo_shows_the_reason_and_the_message() -> None:
    assert argo(CASES["a model that cannot be loaded"][0])[1].startswith(
        "ModelLoadFailed: PredictorReady: pod b: corrupt"
    )


def test_one_that_nobody_has_looked_at_is_not_healthy() -> None:
    """The default of `status` is what the API server answers before the operator's first look."""
    [version] = custom_resource_definition()["spec"]["versions"]
    unseen = {**stored(), "status": version["schema"]["openAPIV3Schema"]["properties"]["status"]["default"]}
    assert argo(unseen) == ("Progressing", "the operator has not looked at it yet")
    assert kstatus(unseen) == "InProgress"


def test_the_page_for_people_shows_the_same_file() -> None:
    page = CONFIG.parents[2] / "docs" / "how-to" / "deploy-with-gitops.md"
    assert CONFIG.read_text() in page.read_text()
