"""What is installed: no more rights than the table has, and in namespaced mode none elsewhere."""

from typing import Any

import pytest

from moorage.controller.install import Installation, manifests
from moorage.controller.rbac import GRANTS

NAMESPACED = manifests(Installation(home="ops", namespaces=("a", "b"), image="i:1", replicas=2))


def of(kind: str, where: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in where if each["kind"] == kind]


def test_no_rule_has_a_wildcard_or_reads_secrets_or_gives_rights_away() -> None:
    for made in (manifests(), NAMESPACED):
        for role in (*of("ClusterRole", made), *of("Role", made)):
            for rule in role["rules"]:
                assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
                assert not {"secrets", "configmaps", "pods/exec"} & set(rule["resources"])
                assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])


def test_every_grant_says_why_and_what_is_seldom_used_is_granted() -> None:
    for grant in GRANTS:
        assert grant.why
        assert {verb for verb, _ in grant.seldom} <= set(grant.verbs)
        assert all(why for _, why in grant.seldom)


def test_for_all_namespaces_there_is_one_cluster_role_and_one_role_for_the_lease() -> None:
    [role] = of("Role", manifests())
    assert role["metadata"]["namespace"] == "moorage-system"
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"leases"}
    assert len(of("ClusterRole", manifests())) == 1


def test_for_some_namespaces_there_is_no_right_in_the_whole_cluster() -> None:
    assert of("ClusterRole", NAMESPACED) == of("ClusterRoleBinding", NAMESPACED) == []
    assert sorted(role["metadata"]["namespace"] for role in of("Role", NAMESPACED)) == ["a", "b", "ops"]
    assert not any("nodes" in rule["resources"] for role in of("Role", NAMESPACED) for rule in role["rules"])
    for binding in of("RoleBinding", NAMESPACED):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "moorage-controller", "namespace": "ops"}]
    [deployment] = of("Deployment", NAMESPACED)
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert {"--namespace=a", "--namespace=b"} <= set(container["args"])
    assert (container["image"], deployment["spec"]["replicas"]) == ("i:1", 2)


def test_the_policy_holds_where_the_models_are_and_spares_the_controller() -> None:
    [policy], [binding] = (
        of("ValidatingAdmissionPolicy", NAMESPACED),
        of("ValidatingAdmissionPolicyBinding", NAMESPACED),
    )
    assert "system:serviceaccount:ops:moorage-controller" in policy["spec"]["matchConditions"][0]["expression"]
    [selected] = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
    assert selected["values"] == ["a", "b"]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"] != "moorage-controller"
    [everywhere] = of("ValidatingAdmissionPolicyBinding", manifests())
    assert "matchResources" not in everywhere["spec"]
    assert "DELETE" not in policy["spec"]["matchConstraints"]["resourceRules"][0]["operations"]


@pytest.mark.parametrize("namespaces", [(), ("a",), ("moorage-system",)])
def test_no_two_objects_have_one_name(namespaces: tuple[str, ...]) -> None:
    made = manifests(Installation(namespaces=namespaces))
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in made]
    assert len(names) == len(set(names))
