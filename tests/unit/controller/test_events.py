from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.controller.events import transitions


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
