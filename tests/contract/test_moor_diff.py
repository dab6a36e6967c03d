"""`moor diff` against a real API server: what it shows comes true, and showing it changes nothing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contract.spec_table import document
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.plane import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve", "controller")]

IMAGE = {"image": "example.com/predictor:1"}


@pytest.fixture
def diff(control_plane: Cluster, tmp_path: Path, namespace: str) -> Any:
    """The diff of a spec, or without one of the namespace; returns (exit code, stdout, stderr)."""

    def run(spec: dict[str, Any] | None = None) -> tuple[int, str, str]:
        file = tmp_path / "model.yaml"
        command = [sys.executable, "-m", "moorage", "diff", "-n", namespace]
        if spec is not None:
            file.write_text(yaml.safe_dump(spec))
            command.append(str(file))
        environment = os.environ | {"KUBECONFIG": str(control_plane.kubeconfig)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        return done.returncode, done.stdout, done.stderr

    return run


def test_what_an_edit_would_change_is_shown_and_nothing_is_written(diff: Any, api: Api, namespace: str) -> None:
    code, out, _ = diff(document("cats", predictor=IMAGE))
    assert code == 1
    assert "+++ InferenceService cats (then)" in out
    assert api.get("ModelDeployment", namespace, "cats") is None

    made = document("cats", predictor=IMAGE, scaling={"replicas": 2})
    made["metadata"]["namespace"] = namespace
    api.apply(made)
    eventually(lambda: condition(api.get("ModelDeployment", namespace, "cats"), "Ready").get("status") == "True", 60)
    eventually(lambda: len(api.list("Pod", namespace)) == 2, 60)  # an autoscaler adds the second one in its own time
    before = api.get("InferenceService", namespace, "cats")
    code, out, err = diff(document("cats", predictor=IMAGE, scaling={"replicas": 2}))
    assert (code, err) == (0, ""), out
    assert out.splitlines()[-1] == f"{namespace}/cats: nothing changes"
    assert diff()[0] == 0, "nor does this version of the operator change anything"

    code, out, _ = diff(document("cats", predictor=IMAGE, scaling={"replicas": 1}))
    assert code == 1
    assert "-    minReplicas: 2" in out
    assert "+    minReplicas: 1" in out
    assert "--- PodDisruptionBudget cats-predictor (now)" in out
    assert out.splitlines()[-1] == f"{namespace}/cats: no pod is replaced"

    code, out, _ = diff(document("cats", predictor={"image": "example.com/predictor:2"}, scaling={"replicas": 2}))
    assert code == 1
    assert "+    image: example.com/predictor:2" in out
    assert out.splitlines()[-1] == f"{namespace}/cats: 2 pods are replaced, one after the other"
    assert api.get("InferenceService", namespace, "cats")["metadata"]["generation"] == before["metadata"]["generation"]


def test_an_edit_that_would_be_refused_says_so_in_the_words_of_who_refuses(diff: Any) -> None:
    code, out, _ = diff(document("cats", cache={"ttl": "5m"}))
    assert code == 1
    assert "would not be acted on: NotYetSupported: spec.cache" in out
    code, _, err = diff(document("cats", scaling={"minReplicas": 5, "maxReplicas": 2}))
    assert code == 2
    assert "lower minReplicas or raise maxReplicas" in err


def test_a_field_that_kubectl_has_applied_and_the_file_no_longer_has_is_shown_to_go(
    diff: Any, api: Api, namespace: str, control_plane: Cluster, tmp_path: Path
) -> None:
    before = tmp_path / "before.yaml"
    before.write_text(yaml.safe_dump(document("cats", predictor=IMAGE, scaling={"replicas": 2})))
    control_plane.kubectl_run("apply", "-n", namespace, "-f", str(before))
    eventually(lambda: condition(api.get("ModelDeployment", namespace, "cats"), "Ready").get("status") == "True", 60)
    generation = api.get("ModelDeployment", namespace, "cats")["metadata"]["generation"]
    code, out, _ = diff(document("cats", predictor=IMAGE))
    assert code == 1
    assert "-    replicas: 2" in out
    assert "-    minReplicas: 2" in out
    assert "last-applied" not in out
    assert api.get("ModelDeployment", namespace, "cats")["metadata"]["generation"] == generation


def test_a_strangers_object_is_shown_as_the_conflict_that_it_is(diff: Any, api: Api, namespace: str) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "cats-predictor", "namespace": namespace},
    }
    api.create(theirs)
    code, out, _ = diff(document("cats", predictor=IMAGE))
    assert code == 1
    assert "would not be acted on: Conflict: ServiceAccount cats-predictor exists and does not belong" in out
    assert "ServiceAccount cats-predictor (then)" not in out
