"""`moor apply` against a real API server: the way of those who have no kubectl at hand."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contract.spec_table import document
from tests.control_plane.client import Api
from tests.control_plane.plane import Cluster

from moorage.cli.handover import LAST_APPLIED

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve", "controller")]


@pytest.fixture
def moor_apply(control_plane: Cluster, tmp_path: Path, namespace: str) -> Any:
    """Apply one spec into the test's namespace; returns (exit code, stdout, stderr)."""

    def run(spec: dict[str, Any], *words: str, kubeconfig: Path | None = None) -> tuple[int, str, str]:
        file = tmp_path / "model.yaml"
        file.write_text(yaml.safe_dump(spec))
        command = [sys.executable, "-m", "moorage", "apply", str(file), "-n", namespace, *words]
        environment = os.environ | {"KUBECONFIG": str(kubeconfig or control_plane.kubeconfig)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        return done.returncode, done.stdout, done.stderr

    return run


def test_it_applies_waits_and_prints_the_url(moor_apply: Any, api: Api, namespace: str) -> None:
    code, out, err = moor_apply(document(), "--wait", "--timeout=60")
    assert (code, err) == (0, "")
    assert out.startswith(f"cats applied in {namespace}\n")
    url = api.get("ModelDeployment", namespace, "cats")["status"]["url"]
    assert out.rstrip().endswith(url)


def test_what_kubectl_has_applied_before_and_the_file_no_longer_has_goes(
    moor_apply: Any, api: Api, namespace: str, control_plane: Cluster, tmp_path: Path
) -> None:
    before = tmp_path / "before.yaml"
    made = document(scaling={"replicas": 2}, predictor={"precision": "bf16", "image": "example.com/predictor:1"})
    made["metadata"]["labels"] = {"team": "sea", "tier": "gold"}
    before.write_text(yaml.safe_dump(made))
    control_plane.kubectl_run("apply", "-n", namespace, "-f", str(before))
    api.patch("ModelDeployment", namespace, "cats", {"spec": {"scaling": {"replicas": 3}}})  # by another hand
    api.patch("ModelDeployment", namespace, "cats", {"metadata": {"annotations": {"example.com/by-hand": "kept"}}})
    wanted = document(predictor={"image": "example.com/predictor:1"})
    wanted["metadata"]["labels"] = {"team": "sea"}
    more = document(predictor={"image": "example.com/predictor:1", "requestLog": "errors"})
    for each in (more, wanted, wanted):
        assert moor_apply(each)[0] == 0
    live = api.get("ModelDeployment", namespace, "cats")
    assert "requestLog" not in live["spec"]["predictor"], "what it has added itself it also takes away"
    for _ in range(2):
        assert moor_apply(wanted)[0] == 0
        live = api.get("ModelDeployment", namespace, "cats")
        assert "precision" not in live["spec"]["predictor"]
        assert live["spec"].get("scaling", {}).get("replicas") is None
        assert live["metadata"]["labels"] == {"team": "sea"}
        assert live["metadata"]["annotations"] == {"example.com/by-hand": "kept"}
    assert "moor" in [entry["manager"] for entry in live["metadata"]["managedFields"]]


def test_what_kubectl_itself_has_taken_over_since_stays_kubectls(
    moor_apply: Any, api: Api, namespace: str, control_plane: Cluster, tmp_path: Path
) -> None:
    before = tmp_path / "before.yaml"
    made = document(scaling={"replicas": 2}, predictor={"image": "example.com/predictor:1"})
    before.write_text(yaml.safe_dump(made))
    control_plane.kubectl_run("apply", "-n", namespace, "-f", str(before))
    control_plane.kubectl_run("apply", "--server-side", "-n", namespace, "-f", str(before))
    live = api.get("ModelDeployment", namespace, "cats")
    assert LAST_APPLIED in live["metadata"]["annotations"], "it is not to be believed any more"
    assert moor_apply(document(predictor={"image": "example.com/predictor:1"}))[0] == 0
    live = api.get("ModelDeployment", namespace, "cats")
    assert live["spec"]["scaling"]["replicas"] == 2


def test_what_it_waits_for_is_said_when_the_time_is_over(moor_apply: Any) -> None:
    code, out, err = moor_apply(document(predictor={"image": "example.com/bad-image:1"}), "--wait", "--timeout=20")
    assert code == 3
    assert "ImagePullFailed" in out
    assert "was not ready within 20 s: ImagePullFailed" in err


def test_a_bad_spec_never_reaches_the_cluster(moor_apply: Any, api: Api, namespace: str) -> None:
    code, _, err = moor_apply(document(scaling={"minReplicas": 5, "maxReplicas": 2}))
    assert code == 2
    assert "lower minReplicas or raise maxReplicas" in err
    assert api.list("ModelDeployment", namespace) == []


def test_an_immutable_field_is_refused_in_the_servers_words(moor_apply: Any) -> None:
    assert moor_apply(document())[0] == 0
    code, _, err = moor_apply(document(model={"task": "custom", "class": "harbour:Tides"}))
    assert code == 2
    assert "task cannot be changed" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("text", ["", "apiVersion: v1\nkind: Config\n"], ids=["empty", "no context"])
def test_without_a_cluster_it_says_so(moor_apply: Any, tmp_path: Path, text: str) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text)
    code, _, err = moor_apply(document(), kubeconfig=kubeconfig)
    assert code == 3
    assert err.startswith("moor: no cluster: ")
    assert "Traceback" not in err


def test_a_server_that_is_not_there_is_one_message(moor_apply: Any, tmp_path: Path, control_plane: Cluster) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(control_plane.kubeconfig.read_text().replace(control_plane.url, "https://127.0.0.1:1"))
    code, _, err = moor_apply(document(), kubeconfig=kubeconfig)
    assert code == 3
    assert "the cluster does not answer" in err
    assert "Traceback" not in err
