import asyncio
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from tests.builders import stored
from tests.unit.controller.conftest import Connection
from tests.unit.controller.mock_api_server import status

from moorage.controller import claims as claims_module
from moorage.controller import watch as watch_module
from moorage.controller.cluster import Cluster
from moorage.controller.engine import Engine
from moorage.controller.instruments import Instruments
from moorage.controller.policy import STATUS_IS_OURS
from moorage.render import RenderSettings


async def test_a_start_that_meets_no_server_waits_is_not_ready_and_works_when_there_is_one(
    connection: Connection,
) -> None:
    connection.server.faults["GET", "/pods"] = status(503, "ServiceUnavailable", "starting")
    engine = Engine(connection.cluster, RenderSettings(), Instruments(CollectorRegistry()))
    engine.start()
    try:
        await asyncio.sleep(0.05)
        assert engine.healthy()
        assert not engine.ready()
        del connection.server.faults["GET", "/pods"]
        async with asyncio.timeout(1.5):
            while not engine.ready():
                await asyncio.sleep(0.01)
    finally:
        await engine.stop()
    assert "watch" not in [task.get_name() for task in asyncio.all_tasks()]


async def test_a_standby_knows_everything_and_writes_nothing_until_it_leads(connection: Connection) -> None:
    registry = CollectorRegistry()
    engine = Engine(connection.cluster, RenderSettings(), Instruments(registry))
    body = connection.server.put("/apis/moorage.dev/v1alpha1/namespaces/demo/modeldeployments/cats", stored())
    engine.start()
    try:
        engine.seen(body)
        await asyncio.sleep(0.3)
        assert engine.ready()
        assert connection.server.writes == []
        assert registry.get_sample_value("moorage_leader") == 0
        engine.lead(True)
        async with asyncio.timeout(1.5):
            while ("PATCH", "/apis/serving.kserve.io/v1beta1/namespaces/demo/inferenceservices/cats") not in (
                connection.server.writes
            ):
                await asyncio.sleep(0.01)
        assert registry.get_sample_value("moorage_leader") == 1
        engine.lead(False)
        await asyncio.sleep(0.1)
        before = len(connection.server.writes)
        engine.seen({**body, "metadata": {**body["metadata"], "resourceVersion": "999999", "generation": 9}})
        await asyncio.sleep(0.3)
        assert len(connection.server.writes) == before
    finally:
        await engine.stop()


async def test_a_namespace_that_is_taken_away_stops_only_itself(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(watch_module, "LONGEST_REFUSED_WAIT_S", 0.05)
    served = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices/cats"
    bodies = {}
    for name in ("mine", "lost"):
        path = f"/apis/moorage.dev/v1alpha1/namespaces/{name}/modeldeployments/cats"
        made = stored(uid=name)
        made["metadata"]["namespace"] = name
        bodies[name] = connection.server.put(path, made)
    forbidden = status(403, "Forbidden", "no")
    connection.server.faults["GET", "/namespaces/lost/pods"] = forbidden
    engine = Engine(connection.cluster, RenderSettings(), Instruments(CollectorRegistry()), ("mine", "lost"))
    engine.start()
    try:
        engine.lead(True)
        for body in bodies.values():
            engine.seen(body)
        async with asyncio.timeout(5):
            while ("PATCH", served.format("mine")) not in connection.server.writes:
                await asyncio.sleep(0.01)
        assert engine.ready()
        assert engine.silent_s()["pods"] < 5
        assert not [path for _, path in connection.server.writes if "/lost/" in path]
        del connection.server.faults["GET", "/namespaces/lost/pods"]
        async with asyncio.timeout(5):
            while ("PATCH", served.format("lost")) not in connection.server.writes:
                await asyncio.sleep(0.01)
    finally:
        await engine.stop()


async def test_an_engine_that_is_refused_in_all_of_its_namespaces_is_not_ready(connection: Connection) -> None:
    connection.server.faults["GET", ""] = status(403, "Forbidden", "no")
    engine = Engine(connection.cluster, RenderSettings(), Instruments(CollectorRegistry()), ("mine", "lost"))
    engine.start()
    try:
        async with asyncio.timeout(5):
            while not all(watch.refused for watch in engine.watches):
                await asyncio.sleep(0.01)
        assert not engine.ready()
    finally:
        await engine.stop()


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


async def test_in_a_namespace_that_another_installation_looks_after_nothing_is_written_until_it_no_longer_does(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "FIRST_S", 0.02)
    monkeypatch.setattr(claims_module, "LONGEST_S", 0.05)
    refused = f"ValidatingAdmissionPolicy 'theirs' denied request: status: {STATUS_IS_OURS}"
    connection.server.faults["PATCH", "/status"] = status(422, "Invalid", refused)
    registry = CollectorRegistry()
    engine = Engine(connection.cluster, RenderSettings(), Instruments(registry))
    path = "/apis/moorage.dev/v1alpha1/namespaces/demo/modeldeployments/"
    cats = connection.server.put(path + "cats", stored())
    dogs = connection.server.put(path + "dogs", stored(name="dogs", uid="uid-2"))
    engine.start()
    try:
        engine.lead(True)
        engine.seen(cats)
        async with asyncio.timeout(5):
            while not engine._claims.left_alone():
                await asyncio.sleep(0.01)
        before = len(connection.server.writes)
        engine.seen(dogs)
        async with asyncio.timeout(5):
            while sum("dryRun" in request.query for request in connection.server.requests) < 3:
                await asyncio.sleep(0.01)
        assert len(connection.server.writes) == before
        engine.update_gauges()
        assert registry.get_sample_value("moorage_namespaces_left_alone") == 1
        del connection.server.faults["PATCH", "/status"]
        async with asyncio.timeout(5):
            while not all(connection.server.objects[path + name].get("status") for name in ("cats", "dogs")):
                await asyncio.sleep(0.01)
    finally:
        await engine.stop()
