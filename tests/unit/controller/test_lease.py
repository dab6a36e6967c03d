"""Two controllers and one lease, on clocks of their own that a test moves."""

import asyncio
from typing import Any

import pytest
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller import lease as lease_module
from moorage.controller.lease import FENCE_S, LEASE_S, Election

HOME = "moorage-system"
PATH = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/moorage-controller"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Candidate:
    """A controller that tries when a test says so."""

    def __init__(self, connection: Connection, identity: str) -> None:
        self.clock = Clock()
        self.election = Election(connection.cluster, HOME, identity, self.clock)

    async def tries(self) -> bool:
        await self.election._try()
        return self.leads

    @property
    def leads(self) -> bool:
        return self.election.seconds_left() > 0


@pytest.fixture
def first(connection: Connection) -> Candidate:
    return Candidate(connection, "first")


@pytest.fixture
def second(connection: Connection) -> Candidate:
    return Candidate(connection, "second")


def spec(connection: Connection) -> dict[str, Any]:
    found: dict[str, Any] = connection.server.objects[PATH]["spec"]
    return found


async def test_one_leads_and_the_other_does_not(connection: Connection, first: Candidate, second: Candidate) -> None:
    assert await first.tries()
    assert not await second.tries()
    assert spec(connection)["holderIdentity"] == "first"
    assert spec(connection)["leaseDurationSeconds"] == LEASE_S


async def test_a_lease_that_is_renewed_is_never_taken(first: Candidate, second: Candidate) -> None:
    for _ in range(20):
        assert await first.tries()
        assert not await second.tries()
        first.clock.now += 1.5
        second.clock.now += 1.5


async def test_a_lease_that_is_no_longer_renewed_is_taken_after_its_time_and_not_before(
    connection: Connection, first: Candidate, second: Candidate
) -> None:
    await first.tries()
    assert not await second.tries()
    second.clock.now += LEASE_S - 0.1
    assert not await second.tries()
    second.clock.now += 0.2
    assert await second.tries()
    assert (spec(connection)["holderIdentity"], spec(connection)["leaseTransitions"]) == ("second", 1)


async def test_who_was_paused_may_not_write_when_it_wakes_and_learns_that_another_leads(
    first: Candidate, second: Candidate
) -> None:
    await first.tries()
    await second.tries()
    second.clock.now += LEASE_S + 1
    assert await second.tries()
    first.clock.now += LEASE_S + 1  # it wakes
    assert not first.leads
    assert not await first.tries()
    assert not await first.tries()
    assert second.leads


async def test_the_fence_closes_well_before_anybody_can_take_the_lease(
    connection: Connection, first: Candidate
) -> None:
    await first.tries()
    connection.server.faults["PUT", "/moorage-controller"] = status(503, "ServiceUnavailable", "away")
    first.clock.now += FENCE_S - 0.1
    assert await first.tries()
    first.clock.now += 0.2
    assert not await first.tries()
    assert LEASE_S - FENCE_S >= 3


async def test_who_lost_touch_leads_again_when_nobody_took_the_lease(connection: Connection, first: Candidate) -> None:
    await first.tries()
    first.clock.now += 100
    assert not first.leads
    assert await first.tries()


async def test_a_renewal_whose_answer_was_lost_costs_no_lease(connection: Connection, first: Candidate) -> None:
    await first.tries()
    body = connection.server.objects[PATH]
    connection.server.put(PATH, {**body, "spec": {**body["spec"], "renewTime": "2026-01-01T00:00:00.000000Z"}})
    await first.tries()
    assert await first.tries()


async def test_a_lease_that_somebody_deleted_is_made_again(connection: Connection, first: Candidate) -> None:
    await first.tries()
    del connection.server.objects[PATH]
    await first.tries()
    assert await first.tries()


async def test_a_lease_that_is_given_back_is_taken_at_once(first: Candidate, second: Candidate) -> None:
    await first.tries()
    assert not await second.tries()
    await first.election.release()
    assert not first.leads
    assert await second.tries()


async def test_a_lease_is_given_back_though_its_renewal_was_under_way_when_the_end_came(
    connection: Connection, first: Candidate, second: Candidate
) -> None:
    await first.tries()
    assert not await second.tries()
    renewing = asyncio.create_task(first.election._try())
    while not connection.cluster._writes:
        await asyncio.sleep(0)
    renewing.cancel()
    await first.election.release()
    assert spec(connection)["holderIdentity"] == ""
    assert await second.tries()


async def test_what_another_one_has_taken_meanwhile_is_not_given_back(
    connection: Connection, first: Candidate, second: Candidate
) -> None:
    await first.tries()
    await second.tries()
    second.clock.now += LEASE_S + 1
    assert await second.tries()
    await first.election.release()
    assert spec(connection)["holderIdentity"] == "second"


async def test_who_never_led_gives_nothing_back(connection: Connection, first: Candidate) -> None:
    await first.election.release()
    assert connection.server.requests == []


async def test_two_that_create_it_at_once_do_not_both_lead(connection: Connection, first: Candidate) -> None:
    connection.server.faults["POST", "/leases"] = status(409, "AlreadyExists", "leases already exists")
    assert not await first.tries()


async def test_a_wall_clock_that_jumps_changes_nothing(
    connection: Connection, first: Candidate, second: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await first.tries()
    await second.tries()
    monkeypatch.setattr(lease_module, "_now", lambda: "2036-01-01T00:00:00.000000Z")
    assert await first.tries()
    assert not await second.tries()
    monkeypatch.setattr(lease_module, "_now", lambda: "1996-01-01T00:00:00.000000Z")
    assert await first.tries()
    assert not await second.tries()


async def test_the_servers_wish_to_wait_is_heard_as_far_as_the_lease_allows(
    connection: Connection, first: Candidate
) -> None:
    connection.server.faults["GET", "/moorage-controller"] = status(
        429, "TooManyRequests", "slow down", **{"Retry-After": "2"}
    )
    assert await first.election._try() == 2


async def test_a_missing_namespace_is_said_once(
    connection: Connection, first: Candidate, caplog: pytest.LogCaptureFixture
) -> None:
    connection.server.faults["POST", "/leases"] = status(404, "NotFound", 'namespaces "moorage-system" not found')
    for _ in range(3):
        assert not await first.tries()
    [line] = [record for record in caplog.records if record.name == "moorage.controller.lease"]
    assert 'namespaces "moorage-system" not found' in vars(line)["error"]


async def test_changes_are_told_and_nothing_else(first: Candidate) -> None:
    told: list[bool] = []
    await first.tries()
    first.election._announce(told.append)
    first.election._announce(told.append)
    first.clock.now += FENCE_S + 1
    first.election._announce(told.append)
    assert told == [True, False]
