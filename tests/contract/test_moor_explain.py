"""`moor explain` against a real API server, as a user with all rights and as one with few."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.contract import kubelet_standin as kubelet
from tests.contract.kubelet_standin import Kubelet
from tests.contract.spec_table import document
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.plane import Cluster

from moorage.render import OWNER_LABEL

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve", "controller")]


@pytest.fixture
def explain(control_plane: Cluster, namespace: str) -> Any:
    """Explain a model of the test's namespace; returns (exit code, stdout, stderr)."""

    def run(*words: str, kubeconfig: Path | None = None) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "moorage", "explain", *words, "-n", namespace]
        environment = os.environ | {"KUBECONFIG": str(kubeconfig or control_plane.kubeconfig)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        return done.returncode, done.stdout, done.stderr

    return run


def until(api: Api, namespace: str, reason: str) -> None:
    eventually(lambda: condition(api.get("ModelDeployment", namespace, "cats"), "Ready").get("reason") == reason, 60)


def test_the_pod_that_is_the_cause_is_marked_with_its_limit_its_fix_and_its_events(
    explain: Any, api: Api, namespace: str
) -> None:
    made = document("cats", scaling={"replicas": 1})
    made["metadata"]["namespace"] = namespace
    api.apply(made)
    until(api, namespace, "Ready")
    code, out, err = explain("cats")
    assert (code, err) == (0, "")
    assert out.startswith("✓ ModelDeployment cats  Ready for ")
    assert "the cause" not in out

    [pod] = api.list("Pod", namespace, labels=f"{OWNER_LABEL}=cats")
    name, node = pod["metadata"]["name"], Kubelet(api, namespace)
    node.take(pod)
    node.say(pod, kubelet.crashing(137, "OOMKilled"))
    until(api, namespace, "OutOfMemory")
    about = {"kind": "Pod", "name": name, "namespace": namespace, "uid": pod["metadata"]["uid"]}
    event = {"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "BackOff", "count": 7}
    times = {"firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z"}
    metadata = {"name": "back-off", "namespace": namespace}
    api.create({**event, **times, "metadata": metadata, "involvedObject": about, "message": "Back-off restarting"})

    code, out, err = explain("cats")
    assert (code, err) == (1, "")
    line = next(line for line in out.splitlines() if f"Pod {name}" in line)
    assert line.endswith(f"✗ Pod {name}  OutOfMemory  ◀ the cause")
    assert "more memory than its limit of 4Gi" in out
    assert "what to do: raise spec.predictor.resources.limits.memory" in out
    assert "BackOff (7 times): Back-off restarting" in out

    code, out, _ = explain("cats", "-o", "json")
    made = json.loads(out)
    assert (code, made["ready"], made["reason"], made["cause"]["name"]) == (1, False, "OutOfMemory", name)
    assert [made["tree"]["kind"], made["tree"]["children"][0]["kind"]] == ["ModelDeployment", "InferenceService"]


def test_a_spec_that_was_refused_is_the_cause_itself(explain: Any, api: Api, namespace: str) -> None:
    made = document("cats", cache={"ttl": "5m"})
    made["metadata"]["namespace"] = namespace
    api.apply(made)
    until(api, namespace, "NotYetSupported")
    code, out, _ = explain("cats")
    assert code == 1
    assert out.startswith("✗ ModelDeployment cats  NotYetSupported for ")
    assert out.splitlines()[0].endswith("◀ the cause")
    assert "what to do: Remove the field that the message names." in out


def test_a_name_that_is_not_there_is_one_message(explain: Any) -> None:
    code, out, err = explain("dogs")
    assert (code, out) == (2, "")
    assert err.startswith("moor: expected a ModelDeployment dogs in the namespace ")


def test_somebody_who_may_read_little_sees_that_and_is_told_of_the_rest(
    explain: Any, api: Api, namespace: str, control_plane: Cluster
) -> None:
    made = document("cats")
    made["metadata"]["namespace"] = namespace
    api.apply(made)
    until(api, namespace, "Ready")
    rbac, metadata = "rbac.authorization.k8s.io", {"name": "reader", "namespace": namespace}
    rule = {"apiGroups": ["moorage.dev"], "resources": ["modeldeployments"], "verbs": ["get"]}
    api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    reader = control_plane.kubeconfig_for_service_account(namespace, "reader")
    code, _, err = explain("cats", kubeconfig=reader)
    assert code == 2
    assert "modeldeployments.moorage.dev" in err
    assert "forbidden" in err
    api.create({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]})
    role = {"apiGroup": rbac, "kind": "Role", "name": "reader"}
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": namespace}
    binding = {"kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]}
    api.create({"apiVersion": f"{rbac}/v1", **binding})
    eventually(lambda: explain("cats", kubeconfig=reader)[0] == 0)
    _, out, _ = explain("cats", kubeconfig=reader)
    assert "you may not read InferenceServices, Deployments, pods, events: the tree is without them" in out
