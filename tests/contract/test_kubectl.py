"""What a person sees through kubectl: columns, explanations, short names, and the same message as from `moor up`."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.contract.controller_process import ControllerProcess
from tests.contract.spec_table import document
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.plane import Cluster

pytestmark = pytest.mark.cluster


def test_get_shows_the_columns_that_people_need(
    api: Api, namespace: str, control_plane: Cluster, kserve: str, controller: ControllerProcess
) -> None:
    cats = document()
    cats["metadata"]["namespace"] = namespace
    api.apply(cats)
    eventually(
        lambda: condition(api.get("ModelDeployment", namespace, "cats"), "Ready")["status"] == "True", timeout_s=60
    )
    head, row = control_plane.kubectl_run("get", "mdep", "-n", namespace).splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "URL", "REPLICAS", "VERSION", "AGE"]
    assert row.split()[:3] == ["cats", "True", "Ready"]
    assert row.split()[3].startswith("http")
    assert "the model answers" in control_plane.kubectl_run("get", "mdep", "-n", namespace, "-o", "wide")
    for word in ("modeldeployments.moorage.dev", "moorage"):  # the full name, and the category
        assert "cats" in control_plane.kubectl_run("get", word, "-n", namespace)
    assert "condition met" in control_plane.kubectl_run("wait", "--for=condition=Ready", "mdep/cats", "-n", namespace)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mdep.spec.model.storageUri", "Where the weights are: s3://BUCKET/PATH"),
        ("mdep.spec.scaling", "How many copies run"),
        ("mdep.spec.predictor.resources.requests.cpu", "CPU cores set aside"),
        ("mdep.status.conditions", "Accepted, PredictorReady, RoutesReady and their summary Ready"),
    ],
)
def test_explain_reads_well(control_plane: Cluster, path: str, words: str) -> None:
    said = " ".join(control_plane.kubectl_run("explain", path).split())
    assert words in said


@pytest.mark.parametrize(
    "spec",
    [
        {"scaling": {"minReplicas": 5, "maxReplicas": 2}},
        {"scaling": {"replicas": 0}},
        {"scaling": {"scaleMetric": "luck"}},
        {"model": {"task": "image-classification", "storageUri": "ftp://host/a"}},
        {"model": {"task": "image-classification"}},
        {"scaling": {"minReplica": 1}},
    ],
    ids=str,
)
def test_kubectl_apply_and_moor_up_say_the_same_of_the_same_file(
    control_plane: Cluster, namespace: str, tmp_path: Path, spec: dict[str, object]
) -> None:
    file = tmp_path / "cats.yaml"
    file.write_text(yaml.safe_dump(document(**spec)))
    kubectl = subprocess.run(
        [
            str(control_plane.kubectl),
            f"--kubeconfig={control_plane.kubeconfig}",
            "apply",
            "-n",
            namespace,
            "-f",
            str(file),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    moor = subprocess.run(
        [sys.executable, "-m", "moorage", "up", str(file)], capture_output=True, text=True, timeout=60
    )
    assert (kubectl.returncode, moor.returncode) == (1, 2)
    ours = moor.stderr.strip().removeprefix(f'moor: {file}: The ModelDeployment "cats" is invalid: ')
    mistake, *hints = ours.splitlines()
    assert mistake in kubectl.stderr
    assert all(hint.startswith(f"{file}: did you mean ") for hint in hints), "which is all that moor adds"
