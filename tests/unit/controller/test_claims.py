import asyncio
import logging

import pytest
from tests.builders import stored
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller.claims import FIRST_S, LONGEST_S, Claims
from moorage.controller.cluster import ApiError
from moorage.controller.policy import policy
from moorage.controller.store import Key

CATS = Key("demo", "cats")
PATH = "/apis/moorage.dev/v1alpha1/namespaces/demo/modeldeployments/cats"
THEIRS = policy("theirs", {}, "system:serviceaccount:other:moorage-controller", ())[0]["spec"]["validations"][0][
    "message"
]
REFUSED = status(422, "Invalid", f"ValidatingAdmissionPolicy 'theirs' with binding 'theirs' denied request: {THEIRS}")


def a_minute_passes(claims: Claims) -> None:
    for loss in claims._lost.values():
        loss.ask_at -= LONGEST_S


async def test_a_namespace_is_asked_for_once_and_nothing_is_stored_by_asking(connection: Connection) -> None:
    body = connection.server.put(PATH, stored())
    asked = Claims(connection.cluster, ask_first=True)
    assert await asked.holds(CATS, body)
    assert await asked.holds(Key("demo", "dogs"), body)
    assert [request.query["dryRun"] for request in connection.server.requests] == ["All"]
    assert connection.server.objects[PATH] == body


async def test_a_controller_of_all_namespaces_asks_nothing(connection: Connection) -> None:
    assert await Claims(connection.cluster, ask_first=False).holds(CATS, stored())
    assert connection.server.requests == []


@pytest.mark.parametrize("ask_first", [True, False])
async def test_a_namespace_of_another_installation_is_left_alone_and_both_its_loss_and_its_return_are_said_once(
    connection: Connection, ask_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    body = connection.server.put(PATH, stored())
    connection.server.faults["PATCH", "/status"] = REFUSED
    returned: list[str] = []
    asked = Claims(connection.cluster, ask_first=ask_first, returned=returned.append)
    if not ask_first:
        assert asked.lost(CATS, ApiError(422, "Invalid", THEIRS))
    assert not await asked.holds(CATS, body)
    assert not await asked.holds(CATS, body)
    assert len(connection.server.requests) == int(ask_first), "not asked again within the minute"
    assert asked.left_alone() == 1
    assert await Claims(connection.cluster, ask_first=False).holds(Key("else", "cats"), body)
    [line] = caplog.records
    assert "another installation must look after other namespaces" in line.__dict__["error"]

    a_minute_passes(asked)
    del connection.server.faults["PATCH", "/status"]
    assert await asked.holds(CATS, body)
    assert (returned, asked.left_alone()) == (["demo"], 0)
    assert [each.levelname for each in caplog.records] == ["ERROR", "WARNING"]


async def test_a_namespace_that_was_lost_is_asked_before_anything_is_written_and_by_one_for_all(
    connection: Connection,
) -> None:
    body = connection.server.put(PATH, stored())
    connection.server.faults["PATCH", "/status"] = REFUSED
    asked = Claims(connection.cluster, ask_first=False)
    asked.lost(CATS, ApiError(422, "Invalid", THEIRS))
    for asking in (1, 2):
        a_minute_passes(asked)
        assert await asyncio.gather(*(asked.holds(CATS, body) for _ in range(8))) == [False] * 8
        assert [request.query["dryRun"] for request in connection.server.requests] == ["All"] * asking


async def test_it_is_asked_again_after_a_second_and_then_ever_more_seldom(connection: Connection) -> None:
    body = connection.server.put(PATH, stored())
    connection.server.faults["PATCH", "/status"] = REFUSED
    asked = Claims(connection.cluster, ask_first=True)
    assert asked.ask_in_s("demo") is None
    waits = []
    for _ in range(8):
        assert not await asked.holds(CATS, body)
        asked.lost(
            Key("demo", "dogs"), ApiError(422, "Invalid", THEIRS)
        )  # the other workers' refusals are the same news
        waits.append(asked.ask_in_s("demo") or 0.0)
        a_minute_passes(asked)
    assert waits == pytest.approx([FIRST_S, 2, 4, 8, 16, 32, LONGEST_S, LONGEST_S], abs=0.5)


async def test_a_question_without_an_answer_is_asked_again_at_once(connection: Connection) -> None:
    body = connection.server.put(PATH, stored())
    connection.server.faults["PATCH", "/status"] = status(503, "ServiceUnavailable", "busy")
    asked = Claims(connection.cluster, ask_first=False)
    asked.lost(CATS, ApiError(422, "Invalid", THEIRS))
    a_minute_passes(asked)
    with pytest.raises(ApiError, match="busy"):
        await asked.holds(CATS, body)
    del connection.server.faults["PATCH", "/status"]
    assert await asked.holds(CATS, body)


async def test_a_question_without_an_answer_puts_off_none_of_the_next(connection: Connection) -> None:
    body = connection.server.put(PATH, stored())
    asked = Claims(connection.cluster, ask_first=False)
    asked.lost(CATS, ApiError(422, "Invalid", THEIRS))
    a_minute_passes(asked)
    connection.server.faults["PATCH", "/status"] = status(503, "ServiceUnavailable", "busy")
    for _ in range(8):
        with pytest.raises(ApiError, match="busy"):
            await asked.holds(CATS, body)
    connection.server.faults["PATCH", "/status"] = REFUSED
    assert not await asked.holds(CATS, body)
    assert asked.ask_in_s("demo") == pytest.approx(2 * FIRST_S, abs=0.5)


async def test_any_other_refusal_is_a_failure_like_others(connection: Connection) -> None:
    body = connection.server.put(PATH, stored())
    connection.server.faults["PATCH", "/status"] = status(403, "Forbidden", "no right")
    asked = Claims(connection.cluster, ask_first=True)
    with pytest.raises(ApiError, match="no right"):
        await asked.holds(CATS, body)
