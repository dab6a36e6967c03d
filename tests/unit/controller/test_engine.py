import asyncio
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from tests.builders import stored
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller import engine as engine_module
from moorage.controller.cluster import Cluster
from moorage.controller.engine import Engine
from moorage.controller.instruments import Instruments
from moorage.render import RenderSettings


async def test_a_start_that_met_no_server_can_be_repeated_and_leaves_nothing_twice(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "SYNC_TIMEOUT_S", 0.05)
    for plural in ("serviceaccounts", "pods"):
        connection.server.faults["GET", f"/{plural}"] = status(503, "ServiceUnavailable", "starting")
    engine = Engine(connection.cluster, RenderSettings(), Instruments(CollectorRegistry()))
    try:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await engine.start()
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert names.count("watch") == len(engine._watches)
    finally:
        await engine.stop()
    assert "watch" not in [task.get_name() for task in asyncio.all_tasks()]


def test_model_deployments_are_counted_by_readiness() -> None:
    registry = CollectorRegistry()
    engine = Engine(cast(Cluster, None), RenderSettings(), Instruments(registry))
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    for name, known in (("a", {"status": ready}), ("b", {"status": ready}), ("c", {})):
        engine.seen({**stored(name=name, uid=name), **known})
    engine.gone(stored(name="b", uid="b"))
    engine.update_gauges()
    counted = {
        value: registry.get_sample_value("moorage_model_deployments", {"ready": value})
        for value in ("True", "False", "Unknown")
    }
    assert counted == {"True": 1, "False": 0, "Unknown": 1}
