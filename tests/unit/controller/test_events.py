import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from moorage.controller.cluster import ApiError, Body, Resource
from moorage.controller.events import Events, transitions


def status(**conditions: str) -> dict[str, Any]:
    """Accepted="True/Accepted" and so on."""
    items = []
    for kind, words in conditions.items():
        value, _, reason = words.partition("/")
        items.append({"type": kind, "status": value, "reason": reason, "message": datetime.now(UTC).isoformat()})
    return {"conditions": items}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, status(Accepted="True/Accepted", PredictorReady="False/Deploying", Ready="False/Deploying"), ["Accepted"]),
        ({}, status(Accepted="False/InvalidSpec", Ready="False/InvalidSpec"), ["Accepted"]),
        ({}, status(Ready="True/Ready"), ["Ready"]),
        (status(Ready="False/Deploying"), status(Ready="True/Ready"), ["Ready"]),
        (status(Ready="True/Ready"), status(Ready="False/OutOfMemory"), ["Ready"]),
        (
            status(PredictorReady="False/Deploying"),
            status(PredictorReady="False/ModelLoadFailed"),
            ["PredictorReady"],
        ),
        (status(Ready="True/Ready"), status(Ready="True/Ready"), []),
    ],
)
def test_what_became_another_status_or_reason_is_told(before: Any, after: Any, told: list[str]) -> None:
    assert [item["type"] for item in transitions(before, after)] == told


class Posts:
    """Takes the events of a cluster's client; the first ones fail."""

    def __init__(self, *failures: Exception) -> None:
        self.failures, self.posted = list(failures), list[str]()

    async def create(self, resource: Resource, manifest: Body) -> Body:
        if self.failures:
            raise self.failures.pop(0)
        self.posted.append(manifest["reason"])
        return manifest


async def test_an_event_that_cannot_be_posted_stops_none_of_the_next() -> None:
    cluster = Posts(ApiError(503, "ServiceUnavailable", "busy"), LookupError("unknown encoding"))
    events = Events(cast(Any, cluster))
    task = asyncio.create_task(events.run())
    owner = {
        "apiVersion": "v1",
        "kind": "A",
        "metadata": {"name": "a", "namespace": "b", "uid": "c", "resourceVersion": "1"},
    }
    for reason in ("Lost", "LostToo", "Told"):
        condition = {"type": "Ready", "status": "True", "reason": reason, "message": ""}
        events.put(owner, condition, datetime.now(UTC))
    while not cluster.posted:
        await asyncio.sleep(0.01)
    assert cluster.posted == ["Told"]
    assert not task.done()
    task.cancel()
