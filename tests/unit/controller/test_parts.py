import asyncio

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.controller.conftest import Connection

from moorage.controller.capabilities import Discovery
from moorage.controller.instruments import Instruments
from moorage.controller.intake import Intake
from moorage.controller.parts import ControllerSettings, Parts
from moorage.render import RenderSettings


async def test_a_part_that_ends_by_itself_is_told_with_its_cause_and_the_controller_is_no_longer_alive(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ends(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    async def goes_on(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Intake, "run", goes_on)
    monkeypatch.setattr(Discovery, "run", ends)
    settings = ControllerSettings(RenderSettings(), leader_elect=False)
    parts = Parts(settings, connection.cluster, None, Instruments(CollectorRegistry()))
    async with parts.running():
        async with asyncio.timeout(5):
            while parts.health().live()[0]:
                await asyncio.sleep(0.01)
    [line] = [record for record in caplog.records if record.name == "moorage.controller.parts"]
    assert line.__dict__["part"] == "discovery"
    assert "nobody thought of this" in str(line.exc_info)
