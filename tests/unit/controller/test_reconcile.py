import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from tests.builders import stored
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller import apply as apply_module
from moorage.controller.cluster import ApiError
from moorage.controller.contests import FREELY
from moorage.controller.events import Events
from moorage.controller.observe import CHILDREN, MODEL_DEPLOYMENT
from moorage.controller.reconcile import Outcome, Reconciler, Result
from moorage.controller.store import Key, Store
from moorage.render import Capabilities, RenderSettings

CATS = Key("demo", "cats")
OWNER = MODEL_DEPLOYMENT.path("demo", "cats")
NAMES = {kind: "cats" if kind == "InferenceService" else "cats-predictor" for kind in CHILDREN}


def path(kind: str) -> str:
    return CHILDREN[kind].path("demo", NAMES[kind])


class World:
    """One ModelDeployment on a server, and a reconciler that has seen it."""

    def __init__(self, connection: Connection) -> None:
        self.server, self.store = connection.server, Store()
        self.events, self.crowded = Events(connection.cluster), False
        self.reconciler = Reconciler(
            connection.cluster,
            self.store,
            RenderSettings(),
            Capabilities,
            lambda: datetime(2026, 1, 2, tzinfo=UTC),
            self.events,
            lambda: self.crowded,
        )

    def asks(self, **changes: Any) -> None:
        """The user writes the resource, and the watch tells us of it."""
        status_before = self.server.objects.get(OWNER, {}).get("status", {})
        body = self.server.put(OWNER, {**stored(**changes), "status": status_before})
        self.store.put(MODEL_DEPLOYMENT.kind, body)

    async def reconcile(self) -> Outcome:
        self.server.writes.clear()
        outcome = await self.reconciler.reconcile(CATS)
        await self.events.post()
        return outcome

    def condition(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = next(
            item for item in self.server.objects[OWNER]["status"]["conditions"] if item["type"] == kind
        )
        return found

    def children(self) -> set[str]:
        return {kind for kind in CHILDREN if path(kind) in self.server.objects}


@pytest.fixture
def world(connection: Connection) -> World:
    made = World(connection)
    made.asks()
    return made


async def test_the_children_are_made_and_the_inference_service_last(world: World) -> None:
    assert (await world.reconcile()).result is Result.CHANGED
    assert world.children() == set(CHILDREN) - {"PodDisruptionBudget"}
    applied = [at for method, at in world.server.writes if method == "PATCH" and not at.endswith("/status")]
    assert applied[-1] == path("InferenceService")
    assert world.condition("Accepted")["status"] == "True"


async def test_nothing_is_asked_before_children_are_made(world: World) -> None:
    await world.reconcile()
    assert [request.path for request in world.server.requests if request.method == "GET"] == []


async def test_where_many_wait_the_status_comes_at_the_second_look(world: World) -> None:
    world.crowded = True
    assert (await world.reconcile()) == Outcome(Result.CHANGED, look_again_s=0.0)
    assert OWNER + "/status" not in {at for _, at in world.server.writes}
    assert (await world.reconcile()).result is Result.CHANGED
    assert world.server.writes[0] == ("PATCH", OWNER + "/status")


async def test_where_many_wait_one_whose_objects_are_changed_again_and_again_still_gets_its_status(
    world: World,
) -> None:
    await world.reconcile()
    world.crowded = True
    world.asks(scaling={"minReplicas": 1, "maxReplicas": 9}, generation=2)
    await world.reconcile()
    assert world.server.objects[OWNER]["status"]["observedGeneration"] == 2


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (409, 'admission webhook "one-of-a-kind.example.com" denied the request: there is one already'),
        (503, 'admission webhook "quota.example.com" denied the request: later'),
        (401, "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not here"),
    ],
)
async def test_who_denies_an_object_with_the_code_of_a_passing_failure_is_told_of(
    world: World, code: int, words: str
) -> None:
    world.server.faults["PATCH", path("ServiceAccount")] = status(code, "Conflict", words)
    assert (await world.reconcile()).result is Result.RETRY
    assert words in world.condition("Accepted")["message"]


@pytest.mark.parametrize("successor", [False, True])
async def test_one_that_went_before_its_first_status_is_forgotten(world: World, successor: bool) -> None:
    del world.server.objects[OWNER]
    if successor:
        world.server.put(OWNER, stored(uid="uid-2"))
    assert (await world.reconcile()).result is Result.GONE
    assert world.store.get(MODEL_DEPLOYMENT.kind, CATS) is None
    await world.reconcile()
    assert world.server.writes == []


async def test_nothing_is_written_when_nothing_changed(world: World) -> None:
    await world.reconcile()
    assert (await world.reconcile()).result is Result.UNCHANGED
    assert world.server.writes == []


async def test_a_new_process_that_meets_its_own_objects_writes_nothing(connection: Connection) -> None:
    first = World(connection)
    first.asks()
    await first.reconcile()
    second = World(connection)
    second.store.put(MODEL_DEPLOYMENT.kind, second.server.objects[OWNER])
    assert (await second.reconcile()).result is Result.UNCHANGED
    assert second.server.writes == []


async def test_an_edit_reaches_the_child_that_it_concerns_and_no_other(world: World) -> None:
    await world.reconcile()
    world.asks(scaling={"minReplicas": 1, "maxReplicas": 9}, generation=2)
    assert (await world.reconcile()).result is Result.CHANGED
    assert world.server.writes == [("PATCH", path("InferenceService")), ("PATCH", f"{OWNER}/status")]
    assert world.server.objects[OWNER]["status"]["observedGeneration"] == 2


async def test_a_live_service_keeps_its_own_word_for_the_mode(world: World) -> None:
    """KServe refuses another, also one that means the same."""
    await world.reconcile()
    live = world.server.objects[path("InferenceService")]
    annotations = {"serving.kserve.io/deploymentMode": "RawDeployment"}
    metadata = {**live["metadata"], "annotations": {**live["metadata"]["annotations"], **annotations}}
    said = {"deploymentMode": "RawDeployment"}
    world.store.put(
        "InferenceService", world.server.put(path("InferenceService"), {**live, "metadata": metadata, "status": said})
    )
    await world.reconcile()
    assert ("PATCH", path("InferenceService")) not in world.server.writes


async def test_a_child_that_was_edited_by_hand_is_restored(world: World) -> None:
    await world.reconcile()
    live = world.server.objects[path("NetworkPolicy")]
    edited = world.server.put(path("NetworkPolicy"), {**live, "spec": {**live["spec"], "egress": []}})
    world.store.put("NetworkPolicy", edited)
    await world.reconcile()
    assert world.server.objects[path("NetworkPolicy")]["spec"]["egress"]


async def test_a_rival_that_writes_a_field_back_each_time_is_named_and_keeps_no_edit_from_any_object(
    world: World,
) -> None:
    def rival() -> None:
        live = world.server.objects[path("NetworkPolicy")]
        body = {**live, "spec": {**live["spec"], "egress": []}}
        world.store.put("NetworkPolicy", world.server.put(path("NetworkPolicy"), body))

    await world.reconcile()
    answered = 0
    for _ in range(10):
        rival()
        outcome = await world.reconcile()
        answered += ("PATCH", path("NetworkPolicy")) in world.server.writes
    assert answered == FREELY + 1
    assert (outcome.result, 0 < (outcome.look_again_s or 0.0) <= 2) == (Result.REFUSED, True)
    found = world.condition("Accepted")
    assert (found["status"], found["reason"]) == ("False", "Contested")
    assert "NetworkPolicy cats-predictor: " in found["message"]
    assert ".spec.egress" in found["message"]
    assert world.condition("Stalled")["reason"] == "Contested"
    world.asks(scaling={"minReplicas": 1, "maxReplicas": 9}, generation=2)
    await world.reconcile()
    assert world.server.objects[path("InferenceService")]["spec"]["predictor"]["maxReplicas"] == 9


async def test_a_rival_that_takes_our_label_away_each_time_is_a_contest_though_the_child_seems_to_be_gone(
    world: World,
) -> None:
    await world.reconcile()
    answered = 0
    for _ in range(10):
        live = world.server.objects[path("NetworkPolicy")]
        world.server.put(path("NetworkPolicy"), {**live, "metadata": {**live["metadata"], "labels": {}}})
        world.store.remove("NetworkPolicy", live)  # what a watch by label tells
        await world.reconcile()
        answered += ("PATCH", path("NetworkPolicy")) in world.server.writes
    assert answered == FREELY + 1
    assert world.condition("Accepted")["reason"] == "Contested"
    del world.server.objects[path("NetworkPolicy")]
    await world.reconcile()
    assert world.condition("Accepted")["status"] == "True", "one that was made anew has no rival yet"


async def test_who_takes_the_rivals_value_over_into_the_spec_is_accepted_at_once(world: World) -> None:
    def rival() -> None:
        live = world.server.objects[path("InferenceService")]
        predictor = {**live["spec"]["predictor"], "minReplicas": 1, "maxReplicas": 9}
        body = {**live, "spec": {**live["spec"], "predictor": predictor}}
        world.store.put("InferenceService", world.server.put(path("InferenceService"), body))

    await world.reconcile()
    for _ in range(FREELY + 2):
        rival()
        await world.reconcile()
    assert world.condition("Accepted")["reason"] == "Contested"
    world.asks(scaling={"minReplicas": 1, "maxReplicas": 9}, generation=2)
    await world.reconcile()
    assert ("PATCH", path("InferenceService")) not in world.server.writes
    assert world.condition("Accepted")["status"] == "True"


async def test_a_webhook_that_changes_our_field_is_not_argued_with(world: World) -> None:
    at = path("ServiceAccount")
    world.server.webhooks[at] = lambda body: {**body, "automountServiceAccountToken": True}
    await world.reconcile()
    world.store.put("ServiceAccount", world.server.objects[at])
    assert (await world.reconcile()).result is Result.UNCHANGED
    edited = world.server.put(
        at, {**world.server.objects[at], "metadata": {**world.server.objects[at]["metadata"], "labels": {}}}
    )
    world.store.put("ServiceAccount", edited)
    await world.reconcile()
    assert world.server.objects[at]["metadata"]["labels"], "other fields are still ours to restore"


async def test_a_child_that_is_no_longer_asked_for_is_deleted(world: World) -> None:
    world.asks(scaling={"replicas": 3})
    await world.reconcile()
    assert "PodDisruptionBudget" in world.children()
    world.asks(scaling={"replicas": 1}, generation=2)
    await world.reconcile()
    assert "PodDisruptionBudget" not in world.children()


async def test_a_strangers_object_is_left_alone_and_told(world: World) -> None:
    stranger = world.server.put(path("ServingRuntime"), {"metadata": {"name": "cats-predictor", "namespace": "demo"}})
    assert (await world.reconcile()).result is Result.RETRY
    assert world.server.objects[path("ServingRuntime")] == stranger
    assert "InferenceService" not in world.children()
    accepted = world.condition("Accepted")
    assert (accepted["reason"], accepted["status"]) == ("Conflict", "False")
    assert "ServingRuntime cats-predictor exists and does not belong to this ModelDeployment" in accepted["message"]


async def test_a_stranger_in_the_place_of_a_child_of_whose_end_no_watch_has_told_is_left_alone_and_told(
    world: World,
) -> None:
    await world.reconcile()
    live = world.server.objects[path("ServingRuntime")]
    world.store.put("ServingRuntime", world.server.put(path("ServingRuntime"), {**live, "spec": {}}))  # to be restored
    theirs = {"name": "cats-predictor", "namespace": "demo", "uid": "theirs"}
    stranger = world.server.put(path("ServingRuntime"), {"metadata": theirs})
    with pytest.raises(ApiError) as error:
        await world.reconcile()
    assert error.value.code == 409
    assert world.server.objects[path("ServingRuntime")] == stranger
    assert (await world.reconcile()).result is Result.RETRY
    assert world.server.objects[path("ServingRuntime")] == stranger
    assert world.condition("Accepted")["reason"] == "Conflict"


async def test_the_children_of_a_predecessor_are_waited_for(world: World) -> None:
    owner = [{"apiVersion": "moorage.dev/v1alpha1", "kind": "ModelDeployment", "uid": "an-older-one"}]
    metadata = {"name": "cats-predictor", "namespace": "demo", "ownerReferences": owner}
    world.server.put(path("ServingRuntime"), {"metadata": metadata})
    assert await world.reconcile() == Outcome(Result.RETRY, 1.0)
    assert world.condition("Accepted")["reason"] == "ReplacingPredecessor"


async def test_the_children_of_another_projects_model_deployment_are_a_strangers(world: World) -> None:
    owner = [{"apiVersion": "other.example/v1", "kind": "ModelDeployment", "uid": "a-strangers"}]
    metadata = {"name": "cats-predictor", "namespace": "demo", "ownerReferences": owner}
    world.server.put(path("ServingRuntime"), {"metadata": metadata})
    await world.reconcile()
    assert world.condition("Accepted")["reason"] == "Conflict"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (408, "too slow"),
        (500, "etcdserver: leader changed"),
        (502, "<html>Bad Gateway</html>"),
        (503, "busy"),
        (504, "slow"),
    ],
)
async def test_an_answer_that_tells_of_the_moment_leaves_the_status_alone(
    world: World, code: int, message: str
) -> None:
    await world.reconcile()
    world.asks(scaling={"minReplicas": 1, "maxReplicas": 9}, generation=2)
    world.server.faults["PATCH", path("InferenceService")] = status(code, "", message)
    with pytest.raises(ApiError):
        await world.reconcile()
    assert world.condition("Accepted")["status"] == "True"
    assert OWNER + "/status" not in {at for _, at in world.server.writes}


async def test_a_quota_is_told_in_the_servers_words_and_tried_again(world: World) -> None:
    words = "exceeded quota: few, requested: count/servingruntimes=1, used: 3, limited: 3"
    world.server.faults["PATCH", "/servingruntimes/cats-predictor"] = status(403, "Forbidden", words)
    assert (await world.reconcile()).result is Result.RETRY
    accepted = world.condition("Accepted")
    assert accepted["reason"] == "ApplyFailed"
    assert accepted["message"].startswith(f"ServingRuntime cats-predictor: {words}: raise the ResourceQuota")
    world.server.faults.clear()
    assert (await world.reconcile()).result is Result.CHANGED
    assert world.condition("Accepted")["status"] == "True"


async def test_a_namespace_that_goes_is_left_to_go(world: World) -> None:
    words = "unable to create new content in namespace demo because it is being terminated"
    world.server.faults[("PATCH", NAMES["ServiceAccount"])] = status(
        403, "Forbidden", words, cause="NamespaceTerminating"
    )
    assert (await world.reconcile()).result is Result.GONE
    assert not any(at.endswith("/status") for _, at in world.server.writes)


@pytest.mark.parametrize("at", [path("ServiceAccount"), f"{OWNER}/status"], ids=["child", "status"])
async def test_what_has_survived_its_namespace_is_left_alone(world: World, at: str) -> None:
    world.server.faults["PATCH", at] = status(404, "NotFound", 'namespaces "demo" not found', kind="namespaces")
    assert (await world.reconcile()).result is Result.GONE
    assert OWNER in world.server.objects


async def test_the_servers_wish_to_wait_is_passed_on_and_no_status_is_written_meanwhile(world: World) -> None:
    busy = status(429, "TooManyRequests", "slow down", **{"Retry-After": "7"})
    world.server.faults["PATCH", "/servingruntimes/cats-predictor"] = busy
    with pytest.raises(ApiError) as error:
        await world.reconcile()
    assert error.value.retry_after_s == 7.0
    assert not any(path.endswith("/status") for _, path in world.server.writes)


async def lets_go_in_time(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(0.05)
    assert request.transport
    request.transport.close()
    return web.Response()


async def test_an_api_server_that_is_away_is_no_write_that_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.server.faults["PATCH", "/servingruntimes/cats-predictor"] = lets_go_in_time
    for _ in range(3):
        with pytest.raises(ApiError, match="disconnected"):
            await world.reconcile()
    monkeypatch.setattr(apply_module, "SILENT_S", 0.04)
    with pytest.raises(ApiError, match="disconnected"):
        await world.reconcile()
    assert (await world.reconcile()).result is Result.RETRY
    assert "ServingRuntime cats-predictor: Server disconnected: an adm" in world.condition("Accepted")["message"]


async def test_a_write_that_the_server_gives_up_on_again_and_again_is_told_and_one_time_is_an_accident(
    world: World,
) -> None:
    hangs = status(504, "Timeout", "Timeout: request did not complete within requested timeout")
    world.server.faults["PATCH", "/servingruntimes/cats-predictor"] = hangs
    with pytest.raises(ApiError):
        await world.reconcile()
    assert not any(path.endswith("/status") for _, path in world.server.writes)
    assert (await world.reconcile()).result is Result.RETRY
    accepted = world.condition("Accepted")
    assert accepted["reason"] == "ApplyFailed"
    assert "ServingRuntime cats-predictor: Timeout" in accepted["message"]
    assert "webhook" in accepted["message"]
    world.server.faults.clear()
    await world.reconcile()
    assert world.condition("Accepted")["status"] == "True"


async def gives_up(world: World, kind: str) -> None:
    """Once, on the first write of a child of that kind."""
    hangs = status(504, "Timeout", "Timeout: request did not complete within requested timeout")
    world.server.faults["PATCH", path(kind)] = hangs
    with pytest.raises(ApiError):
        await world.reconcile()
    world.server.faults.clear()


@pytest.mark.parametrize("others_fail", [False, True])
async def test_two_accidents_with_a_child_that_needed_no_write_in_between_are_not_in_a_row(
    world: World, others_fail: bool
) -> None:
    def somebody_writes(kind: str, body: dict[str, Any]) -> None:
        world.store.put(kind, world.server.put(path(kind), body))

    await world.reconcile()
    policy, runtime = world.server.objects[path("NetworkPolicy")], world.server.objects[path("ServingRuntime")]
    for _ in range(2):
        somebody_writes("NetworkPolicy", {**policy, "spec": {**policy["spec"], "egress": []}})
        await gives_up(world, "NetworkPolicy")
        somebody_writes("NetworkPolicy", policy)
        if others_fail:
            somebody_writes("ServingRuntime", {**runtime, "spec": {}})
            world.server.faults["PATCH", path("ServingRuntime")] = status(403, "Forbidden", "no")
        await world.reconcile()
        assert world.condition("Accepted")["status"] == ("False" if others_fail else "True")
        somebody_writes("ServingRuntime", runtime)


async def test_two_accidents_with_a_child_that_was_refused_in_between_are_not_in_a_row(world: World) -> None:
    await gives_up(world, "ServiceAccount")
    world.server.faults["PATCH", path("ServiceAccount")] = status(403, "Forbidden", "no")
    await world.reconcile()
    await gives_up(world, "ServiceAccount")


async def test_two_accidents_with_a_child_that_was_not_wanted_in_between_are_not_in_a_row(world: World) -> None:
    for generation in (2, 4):
        world.asks(scaling={"replicas": 3}, generation=generation)
        await gives_up(world, "PodDisruptionBudget")
        world.asks(scaling={"replicas": 1}, generation=generation + 1)
        await world.reconcile()


async def test_an_accident_with_a_predecessors_child_and_one_with_ones_own_are_not_in_a_row(world: World) -> None:
    await gives_up(world, "ServiceAccount")
    world.store.remove(MODEL_DEPLOYMENT.kind, world.server.objects[OWNER])
    world.asks(metadata={"uid": "uid-2"})
    await gives_up(world, "ServiceAccount")


async def test_a_cluster_without_kserve_is_told_and_gets_the_other_children(world: World) -> None:
    async def unknown_path(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text="404 page not found")

    for kind in ("ServingRuntime", "InferenceService"):
        for method in ("GET", "PATCH"):
            world.server.faults[method, f"/{CHILDREN[kind].plural}/{NAMES[kind]}"] = unknown_path
    assert (await world.reconcile()).result is Result.RETRY
    assert world.condition("Accepted")["reason"] == "KServeUnavailable"
    assert world.children() == {"ServiceAccount", "NetworkPolicy"}
    world.server.faults.clear()
    await world.reconcile()
    assert "InferenceService" in world.children()


async def test_a_failed_apply_ends_only_when_its_neighbours_have_ended(world: World) -> None:
    """Or a second worker could have the same key while the first one still writes."""
    ended = []

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        ended.append(request.path)
        return await status(500, "InternalError", "slow")(request)

    world.server.faults["PATCH", "/networkpolicies/cats-predictor"] = slow
    world.server.faults["PATCH", "/serviceaccounts/cats-predictor"] = status(403, "Forbidden", "no")
    await world.reconcile()
    assert ended == [path("NetworkPolicy")]


async def test_a_status_that_somebody_else_wrote_meanwhile_is_not_overwritten(world: World) -> None:
    world.server.faults["PATCH", "/status"] = status(409, "Conflict", "the object has been modified")
    with pytest.raises(ApiError) as error:
        await world.reconcile()
    assert error.value.code == 409
    assert "status" not in world.server.objects[OWNER] or world.server.objects[OWNER]["status"] == {}


async def test_a_spec_that_changed_meanwhile_is_never_claimed_to_be_observed(world: World) -> None:
    world.server.put(OWNER, {**stored(generation=2), "metadata": {**stored()["metadata"], "generation": 2}})
    with pytest.raises(ApiError) as error:  # what the store has seen is older
        await world.reconcile()
    assert error.value.code == 409


async def test_a_spec_that_breaks_a_rule_is_told_and_nothing_is_made(world: World) -> None:
    world.asks(scaling={"minReplicas": 3, "maxReplicas": 1})
    assert (await world.reconcile()).result is Result.REFUSED
    assert world.children() == set()
    assert world.condition("Ready")["message"].startswith(
        'Accepted: spec.scaling: Invalid value: "object": minReplicas'
    )


async def test_a_refused_edit_leaves_what_serves_alone(world: World) -> None:
    await world.reconcile()
    before = {kind: world.server.objects[path(kind)] for kind in world.children()}
    world.asks(cache={"ttl": "5m"}, scaling={"maxReplicas": 9}, generation=2)
    assert (await world.reconcile()).result is Result.REFUSED
    assert {kind: world.server.objects[path(kind)] for kind in world.children()} == before
    assert world.condition("Accepted")["reason"] == "NotYetSupported"


async def test_a_deployment_that_is_gone_or_going_is_left_to_garbage_collection(world: World) -> None:
    assert (await world.reconciler.reconcile(Key("demo", "dogs"))).result is Result.GONE
    world.asks(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert (await world.reconcile()).result is Result.GONE
    assert world.server.writes == []


@pytest.mark.parametrize("successor", [False, True])
async def test_a_deployment_that_went_unseen_gets_no_children_again(world: World, successor: bool) -> None:
    await world.reconcile()
    for kind in world.children():
        world.store.remove(kind, world.server.objects.pop(path(kind)))
    del world.server.objects[OWNER]
    if successor:
        world.server.put(OWNER, stored(uid="uid-2"))
    assert (await world.reconcile()).result is Result.GONE
    assert world.server.writes == []
    assert (await world.reconcile()).result is Result.GONE


async def test_transitions_are_posted_as_events_and_losing_one_is_no_error(world: World) -> None:
    world.server.faults["POST", "/events"] = status(403, "Forbidden", "no events")
    assert (await world.reconcile()).result is Result.CHANGED
    world.server.faults.clear()
    world.asks(cache={"ttl": "5m"}, generation=2)
    await world.reconcile()
    posted = [body for at, body in world.server.objects.items() if "/events/" in at]
    assert {(body["reason"], body["type"]) for body in posted} == {("NotYetSupported", "Warning")}
    assert posted[0]["involvedObject"]["name"] == "cats"
