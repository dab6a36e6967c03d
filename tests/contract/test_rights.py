"""The controller has the rights that it uses and no others, and in namespaced mode none outside of its namespaces."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.controller_process import NAMESPACE, USER, ControllerProcess
from tests.contract.deployments import apply
from tests.control_plane.audit import Request
from tests.control_plane.client import Api, condition, eventually
from tests.control_plane.plane import Cluster, ControlPlane

from moorage.cli.yamltext import to_yaml
from moorage.controller.install import Installation, manifests
from moorage.controller.rbac import GRANTS, LEASE_NAME
from moorage.render import OWNER_LABEL

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("kserve")]

CHILDREN = (
    ("ServiceAccount", "cats-predictor"),
    ("NetworkPolicy", "cats-predictor"),
    ("PodDisruptionBudget", "cats-predictor"),
    ("ServingRuntime", "cats-predictor"),
    ("InferenceService", "cats"),
)
Right = tuple[str, str, str]


def ready(api: Api, namespace: str, name: str = "cats") -> bool:
    return condition(api.get("ModelDeployment", namespace, name), "Ready").get("status") == "True"


def used(requests: list[Request]) -> set[Right]:
    return {(each.group, each.resource, each.verb) for each in requests if each.resource}


def granted() -> set[Right]:
    return {(grant.group, resource, verb) for grant in GRANTS for resource in grant.resources for verb in grant.verbs}


def seldom() -> set[Right]:
    return {
        (grant.group, resource, verb) for grant in GRANTS for resource in grant.resources for verb, _ in grant.seldom
    }


def renewed(api: Api) -> str:
    """When the controller said the last time that it leads."""
    return str(api.get("Lease", NAMESPACE, LEASE_NAME)["spec"]["renewTime"])


def test_what_the_audit_log_shows_is_what_is_granted_and_the_rest_has_its_reason(
    api: Api, namespace: str, control_plane: Cluster, controller: ControllerProcess
) -> None:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("a lent cluster has no audit log that we can read")
    controller.stop()
    api.delete("Lease", NAMESPACE, LEASE_NAME)
    mark = control_plane.audit.mark()
    controller.start()
    apply(api, namespace, scaling={"minReplicas": 2, "maxReplicas": 3})
    eventually(lambda: ready(api, namespace))
    for kind, name in CHILDREN:
        api.delete(kind, namespace, name)
        eventually(lambda kind=kind, name=name: api.get(kind, namespace, name), timeout_s=30)
    apply(api, namespace, scaling={"minReplicas": 1, "maxReplicas": 3})
    eventually(lambda: api.get("PodDisruptionBudget", namespace, "cats-predictor") is None)
    taken = renewed(api)
    eventually(lambda: renewed(api) != taken)
    requests = [each for each in control_plane.audit.requests(since=mark) if each.user == USER]
    assert used(requests) - granted() == set(), "the API server refused something, or a role has more than the table"
    assert granted() - used(requests) - seldom() == set(), "never used, and no reason is given"
    assert [each for each in requests if each.code == 403 and each.namespace == namespace] == []


@pytest.fixture
def three(api: Api, namespace: str) -> Iterator[list[str]]:
    """Three namespaces more: two to look after, and one that is not."""
    names = [f"{namespace}-{end}"[-60:].lstrip("-") for end in ("a", "b", "other")]
    for name in names:
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield names
    for name in names:
        api.delete("Namespace", None, name)


def test_with_some_namespaces_it_works_in_those_that_there_are_and_can_do_nothing_elsewhere(
    api: Api, namespace: str, three: list[str], control_plane: Cluster, controller: ControllerProcess
) -> None:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("a lent cluster has no audit log that we can read")
    a, b, other = three
    controller.stop()
    install = manifests(Installation(home=namespace, namespaces=(a, b)))
    for policy in policies(manifests()):  # of the other installation, which is for all namespaces
        api.delete(f"{policy['apiVersion']}/{policy['kind']}", None, policy["metadata"]["name"])
    user = f"system:serviceaccount:{namespace}:moorage-controller"
    process = ControllerProcess(
        control_plane,
        control_plane.run_dir / "namespaced.log",
        [f"--namespace={a}", f"--namespace={b}", f"--lease-namespace={namespace}"],
        install=to_yaml(install),
        home=namespace,
    )
    mark = control_plane.audit.mark()
    try:
        process.start()
        for each in three:
            apply(api, each)
        eventually(lambda: ready(api, a) and ready(api, b))
        api.delete("ServiceAccount", b, "cats-predictor")
        eventually(lambda: api.get("ServiceAccount", b, "cats-predictor"))
        assert api.list("ServiceAccount", other, labels=OWNER_LABEL) == []
        assert api.get("ModelDeployment", other, "cats")["status"] == {"observedGeneration": -1}
        asked = [each for each in control_plane.audit.requests(since=mark) if each.user == user and each.resource]
        refused = {(each.resource, each.namespace) for each in asked if each.code == 403}
        assert {each.namespace for each in asked} - {"" if refused else a} <= {a, b, namespace}
        assert refused <= {("deployments", "")}, "KServe's version, which is then assumed"
        for verb, what in (("list", "pods"), ("create", "inferenceservices.serving.kserve.io"), ("get", "secrets")):
            may = control_plane.kubectl_run("auth", "can-i", verb, what, f"--as={user}", "-n", other, check=False)
            assert may.strip() == "no"
        api.delete("Namespace", None, b)
        eventually(lambda: api.get("Namespace", None, b) is None, timeout_s=60)
        apply(api, a, "before-a-restart")
        eventually(lambda: ready(api, a, "before-a-restart"))
        process.stop()
        process.start()
        apply(api, a, "after-a-restart")
        eventually(lambda: ready(api, a, "after-a-restart"))
        eventually(lambda: '"ready": true' in process.get("/readyz"))
    finally:
        process.stop()
        for policy in policies(install):
            api.delete(f"{policy['apiVersion']}/{policy['kind']}", None, policy["metadata"]["name"])
        for policy in policies(manifests()):
            api.apply(policy)
        controller.start()


def test_two_installations_that_look_after_one_namespace_do_not_fight_over_it_and_say_so(
    api: Api, namespace: str, control_plane: Cluster, controller: ControllerProcess
) -> None:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("a lent cluster has no audit log that we can read")
    apply(api, namespace)
    eventually(lambda: ready(api, namespace))
    install = manifests(Installation(home=f"{namespace}-home"[-60:].lstrip("-"), namespaces=(namespace,)))
    home = install[0]["metadata"]["name"]
    second = ControllerProcess(
        control_plane,
        control_plane.run_dir / "second.log",
        [f"--namespace={namespace}", f"--lease-namespace={home}", "--predictor-image=example.com/second:1"],
        install=to_yaml(install),
        home=home,
    )
    try:
        second.start()
        eventually(second.leads)
        eventually(lambda: "another installation must look after other namespaces" in second.log())
        mark = control_plane.audit.mark()
        time.sleep(3)
        writes = control_plane.audit.writes(since=mark, namespace=namespace)
        by = {each.user for each in writes if each.code < 400}  # a dry run asks now and then, and is refused
        assert {USER, f"system:serviceaccount:{home}:moorage-controller"}.isdisjoint(by)
        runtime = api.get("ServingRuntime", namespace, "cats-predictor")
        assert runtime["spec"]["containers"][0]["image"] != "example.com/second:1"
    finally:
        second.stop()
        for policy in policies(install):
            api.delete(f"{policy['apiVersion']}/{policy['kind']}", None, policy["metadata"]["name"])
        api.delete("Namespace", None, home)


def policies(install: list[Any]) -> list[Any]:
    return [each for each in install if each["kind"].startswith("ValidatingAdmissionPolicy")]
