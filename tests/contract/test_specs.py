"""pydantic and the API server judge one table of specs alike, and say the same about each mistake."""

from typing import Any

import pytest
from tests.contract.spec_table import TRANSITIONS, Constraint, constraints, document, full, pair
from tests.control_plane.client import Api, ApiError

from moorage.api import InvalidDeploymentError, ModelDeployment, check

pytestmark = pytest.mark.cluster

PATH = "/apis/moorage.dev/v1alpha1/namespaces/default/modeldeployments"
UNCHECKED = "some validation rules were not checked"


def server_causes(api: Api, spec: dict[str, Any]) -> set[tuple[str, str]]:
    """What the API server has against a spec: (field, message) pairs; empty if it takes it."""
    answer = api.judge(PATH, spec)
    if answer.get("kind") != "Status":
        return set()
    causes = answer.get("details", {}).get("causes")
    assert causes, answer
    return {(each["field"], each["message"]) for each in causes if UNCHECKED not in each["message"]}


def our_causes(spec: dict[str, Any]) -> set[tuple[str, str]]:
    try:
        check(spec)
    except InvalidDeploymentError as error:
        return {(each.field, each.message) for each in error.mistakes}
    return set()


ALL = [each for each in constraints() if "oldSelf" not in str(each.value)]


@pytest.mark.parametrize("constraint", ALL, ids=str)
def test_a_constraint_is_judged_alike_just_inside_and_just_outside(api: Api, constraint: Constraint) -> None:
    inside, outside = pair(constraint)
    assert inside, "a constraint needs a spec just inside"
    assert outside, "a constraint needs a spec just outside"
    for spec in inside:
        assert (our_causes(spec), server_causes(api, spec)) == (set(), set()), spec
    for spec in outside:
        ours, theirs = our_causes(spec), server_causes(api, spec)
        assert ours, f"pydantic takes {spec}"
        # The server may say more: it goes on with the rules of the whole after a part of it has failed.
        assert ours <= theirs, spec


def test_every_transition_rule_has_its_pair() -> None:
    rules = [each.value["message"] for each in constraints() if "oldSelf" in str(each.value)]
    assert len(rules) == len(TRANSITIONS)
    assert all(any(message.startswith(words) for words in TRANSITIONS) for message in rules)


@pytest.mark.parametrize("words", TRANSITIONS)
def test_a_transition_is_judged_alike(api: Api, namespace: str, words: str) -> None:
    before, allowed, refused = (
        {**each, "metadata": {"name": "cats", "namespace": namespace}} for each in TRANSITIONS[words]
    )
    for after, fine in ((allowed, True), (refused, False)):
        messages = ModelDeployment.model_validate(after).check_update(ModelDeployment.model_validate(before))
        api.apply(before)
        if fine:
            assert messages == []
            api.apply(after)
        else:
            with pytest.raises(ApiError) as error:
                api.apply(after)
            assert error.value.status == 422
            assert messages[0].startswith(words)
            assert messages[0] in error.value.message


def test_the_table_covers_every_field_of_the_spec() -> None:
    fields = {each.path for each in constraints() if each.path}
    assert len(fields) > 80, "the walk over the CRD lost its way"


def test_a_misspelt_field_is_named_by_both(api: Api) -> None:
    spec = document(scaling={"minReplica": 1})
    with pytest.raises(InvalidDeploymentError, match=r'unknown field "spec.scaling.minReplica"'):
        check(spec)
    assert 'unknown field "spec.scaling.minReplica"' in api.judge(PATH, spec)["message"]


def test_a_misspelt_field_of_a_client_that_asks_for_no_check_is_left_out(api: Api) -> None:
    taken = api.request("POST", PATH, document(scaling={"minReplica": 1}), dryRun="All")
    assert "minReplica" not in taken["spec"]["scaling"]


@pytest.mark.parametrize(
    "field", ["podTemplate", "hostNetwork", "nodeName", "serviceAccountName", "securityContext", "volumes", "env"]
)
def test_a_pod_of_ones_own_making_cannot_be_asked_for(api: Api, field: str) -> None:
    spec = document(predictor={field: {}})
    with pytest.raises(InvalidDeploymentError, match=f'unknown field "spec.predictor.{field}"'):
        check(spec)
    assert f'unknown field "spec.predictor.{field}"' in api.judge(PATH, spec)["message"]


def test_a_number_that_is_none_is_refused_by_both(api: Api) -> None:
    for number in (1e309, float("nan")):
        spec = document(scaling={"minReplicas": number})
        assert our_causes(spec)
        assert api.judge(PATH, spec)["kind"] == "Status"


@pytest.mark.parametrize(
    "scaling",
    [
        None,
        {"minReplicas": None},
        {"minReplicas": 3.0},
        {"minReplicas": "3"},
        {"minReplicas": True},
        {"minReplicas": 1.5},
        [],
        "x",
    ],
    ids=repr,
)
def test_odd_types_are_judged_alike(api: Api, scaling: Any) -> None:
    spec = document(scaling=scaling)
    ours, theirs = our_causes(spec), server_causes(api, spec)
    assert bool(ours) == bool(theirs)
    assert ours <= theirs


def test_the_defaults_of_the_api_server_are_those_of_pydantic(api: Api) -> None:
    stored = api.judge(PATH, document())
    ours = check(document()).spec.model_dump(by_alias=True, exclude_none=True)
    assert ours == stored["spec"] | {"scaling": {}}


def test_the_fullest_spec_is_taken_by_both(api: Api) -> None:
    assert our_causes(full()) == set()
    assert server_causes(api, full()) == set()


@pytest.mark.parametrize(
    "spec",
    [
        document(predictor={"imagePullSecrets": ["x"] * 300_000}),
        document(variants=[{"name": f"v{i}", "weight": 0} for i in range(10_000)]),
        document(model={"task": "custom", "name": "x" * 1_000_000}),
    ],
    ids=["300,000 secrets", "10,000 variants", "a name of 1 MB"],
)
def test_a_huge_spec_is_refused_by_the_schema(api: Api, spec: dict[str, Any]) -> None:
    assert our_causes(spec)
    assert server_causes(api, spec)
