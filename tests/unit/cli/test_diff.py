"""What `moor diff` makes of objects before and after. The dry runs themselves are in tests/contract/test_moor_diff.py."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rich.console import Console
from tests.builders import document, model_deployment
from tests.unit.cli.mock_guarded_cluster import MockGuardedCluster

from moorage.api.conditions import NOT_YET_SUPPORTED
from moorage.cli.app import app
from moorage.cli.diff import command
from moorage.cli.diff.plan import Change, Plan, overlaid, plan, pod_hash
from moorage.cli.diff.screen import lines, picture
from moorage.cli.errors import UserError
from moorage.cli.kube import KubeError
from moorage.cli.render_options import of_arguments
from moorage.render import Refusal, RenderSettings, render

CONTROLLER = getattr(typer.main.get_command(app), "commands")["controller"]  # noqa: B009 - as in the command itself


def service(**changes: Any) -> dict[str, Any]:
    return render(model_deployment(**changes))[-1]


def shown(plan: Plan, *, colour: bool = False) -> str:
    file = io.StringIO()
    Console(file=file, width=160, force_terminal=colour, color_system="standard" if colour else None).print(
        picture(plan)
    )
    return file.getvalue()


def test_a_changed_field_is_shown_with_what_surrounds_it() -> None:
    before, after = service(), service(scaling={"maxReplicas": 9})
    found = lines(Change("InferenceService", "cats", before, after))
    assert found[:2] == ["--- InferenceService cats (now)", "+++ InferenceService cats (then)"]
    assert [line for line in found[2:] if line[0] in "+-"] == ["-    maxReplicas: 3", "+    maxReplicas: 9"]


def test_what_the_api_server_writes_by_itself_is_no_difference() -> None:
    before = service()
    noise = {"resourceVersion": "8", "uid": "b", "generation": 4, "managedFields": [{}], "creationTimestamp": "x"}
    after = {**before, "metadata": {**before["metadata"], **noise}, "status": {"url": "http://x"}}
    shuffled = dict(reversed(after.items()))
    assert lines(Change("InferenceService", "cats", before, shuffled)) == []
    plan = Plan("demo", "cats", (Change("InferenceService", "cats", before, shuffled),))
    assert shown(plan) == "demo/cats: nothing changes\n"


@pytest.mark.parametrize(
    ("pods", "words"),
    [(0, "demo/cats: no pod is replaced"), (1, "1 pod is replaced"), (3, "3 pods are replaced, one after the other")],
)
def test_the_last_line_says_what_becomes_of_the_pods(pods: int, words: str) -> None:
    change = Change("InferenceService", "cats", service(), service(scaling={"maxReplicas": 9}))
    assert words in shown(Plan("demo", "cats", (change,), None, pods)).splitlines()[-1]


def test_what_would_be_made_and_what_would_go_is_shown_whole() -> None:
    made = lines(Change("InferenceService", "cats", None, service()))
    gone = lines(Change("InferenceService", "cats", service(), None))
    assert made[0] == "--- /dev/null"
    assert gone[1] == "+++ /dev/null"
    assert {line[0] for line in made[3:]} == {"+"}
    assert {line[0] for line in gone[3:]} == {"-"}


def test_a_spec_that_would_be_refused_says_so() -> None:
    plan = Plan("demo", "cats", (), Refusal(NOT_YET_SUPPORTED, "spec.cache is not supported yet: remove it"))
    assert shown(plan) == (
        "demo/cats: would not be acted on: NotYetSupported: spec.cache is not supported yet: remove it\n"
    )


def test_colour_is_for_terminals() -> None:
    plan = Plan("demo", "cats", (Change("InferenceService", "cats", service(), service(scaling={"maxReplicas": 9})),))
    assert "\x1b[32m" in shown(plan, colour=True)
    assert "\x1b" not in shown(plan)


def test_an_estimate_keeps_what_others_have_added() -> None:
    live = {"a": 1, "mine": 1, "list": [{"name": "x", "value": "1", "added": True}], "plain": [1, 2]}
    wanted = {"mine": 2, "list": [{"name": "x", "value": "2"}, {"name": "y"}], "plain": [3]}
    assert overlaid(live, wanted) == {
        "a": 1,
        "mine": 2,
        "list": [{"name": "x", "value": "2", "added": True}, {"name": "y"}],
        "plain": [3],
    }


def test_only_what_reaches_a_pod_replaces_it() -> None:
    assert pod_hash(service(scaling={"maxReplicas": 9})) == pod_hash(service())
    assert pod_hash(service(predictor={"image": "a/b:2"})) != pod_hash(service())


def test_an_operators_arguments_are_what_it_renders_with() -> None:
    given = [
        "--host=0.0.0.0",
        "--predictor-image=a/b:2",
        "--storage-port=9000",
        "--node-cidr=10.0.0.0/8",
        "--of-later=1",
    ]
    settings = of_arguments(CONTROLLER, given).settings()
    assert settings.predictor_image == "a/b:2"
    assert (settings.network.storage_ports, settings.network.node_cidrs) == ((9000,), ("10.0.0.0/8",))
    assert of_arguments(CONTROLLER, []).settings() == RenderSettings()


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match="--node-cidr: expected a network"):
        of_arguments(CONTROLLER, ["--node-cidr=x"]).settings()


def operator_with(*containers: str) -> Any:
    spec = {"containers": [{"name": name, "args": ["controller", f"--predictor-image={name}"]} for name in containers]}
    return SimpleNamespace(get=lambda path: {"spec": {"template": {"spec": spec}}})


def test_the_operators_options_are_read_from_its_own_container_beside_others() -> None:
    found = command._settings(operator_with("proxy", "controller"), "moorage-system", CONTROLLER, Console())
    assert found.predictor_image == "controller"


def test_a_deployment_without_the_operators_container_is_told() -> None:
    with pytest.raises(UserError, match="expected a container named controller, found proxy, main: "):
        command._settings(operator_with("proxy", "main"), "moorage-system", CONTROLLER, Console())


def test_a_new_deployment_is_planned_where_its_children_may_not_be_read() -> None:
    planned = plan(MockGuardedCluster(403), "demo", "cats", document(), RenderSettings())
    assert planned.refused is None
    assert [(each.kind, each.before, each.after is None) for each in planned.changes][:2] == [
        ("ModelDeployment", None, False),
        ("ServiceAccount", None, False),
    ]
    with pytest.raises(KubeError):
        plan(MockGuardedCluster(500), "demo", "cats", document(), RenderSettings())
