"""The standard health service of gRPC, on both servers: the same as the calls of the protocol's own, and no key for it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from tests.unit.access.callers import key_settings, made_key
from tests.unit.predictor.served import Echo, InProcess

from moorage.api.predictor import PredictorSettings
from moorage_predictor.telemetry.observer import Observer
from moorage_predictor.wire import grpc_health
from moorage_predictor.wire.access import gate_of
from moorage_predictor.wire.grpc import create_server
from moorage_predictor.wire.rate_limits import Limits

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNKNOWN = HealthCheckResponse.SERVICE_UNKNOWN


class Asked:
    """A model that is still loading, behind keys and a limit of one call an hour; `stub` asks without a key."""

    def __init__(self, kind: str, folder: Any) -> None:
        self.inside = InProcess()
        _, document = made_key("alice")
        keys = key_settings(folder / "keys.json", document).access_keys_file
        settings = PredictorSettings.model_validate(
            {"task": "a.py:B", "model_name": "cats", "rate_limit": ("1/hour by=key",), "access_keys_file": keys}
            | {"grpc_server": kind}
        )
        limits = Limits(settings, self.inside.metrics)
        self.server = create_server(self.inside.repository, settings, gate_of(settings), limits, Observer())

    async def start(self) -> None:
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")
        self.stub = HealthStub(self.channel)

    async def check(self, service: str = "") -> int:
        answer = await self.stub.Check(HealthCheckRequest(service=service), timeout=10)
        return int(answer.status)

    def watch(self, service: str = "") -> Any:
        return self.stub.Watch(HealthCheckRequest(service=service), timeout=30)

    async def close(self) -> None:
        await self.channel.close()
        await self.server.stop(None)


@pytest.fixture(params=["grpcio", "native"])
async def asked(request: Any, tmp_path: Any) -> AsyncIterator[Asked]:
    made = Asked(request.param, tmp_path)
    await made.start()
    yield made
    await made.close()


async def test_nothing_serves_while_the_model_loads_nor_once_the_server_stops(asked: Asked) -> None:
    names = ("", "cats", "inference.GRPCInferenceService")
    assert [await asked.check(name) for name in names] == [NOT_SERVING] * 3
    asked.inside.served.serve(Echo())
    assert [await asked.check(name) for name in names] == [SERVING] * 3
    asked.inside.repository.drain()
    assert [await asked.check(name) for name in names] == [NOT_SERVING] * 3


async def test_an_unknown_model_is_not_found_and_the_message_names_no_other(asked: Asked) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asked.check("dogs")
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such model here")


async def test_a_watch_is_told_of_each_change_and_ends_with_the_server(asked: Asked) -> None:
    everything, model, other = asked.watch(), asked.watch("cats"), asked.watch("dogs")
    watches = (everything, model, other)
    assert [(await watch.read()).status for watch in watches] == [NOT_SERVING, NOT_SERVING, UNKNOWN]
    asked.inside.served.serve(Echo())
    assert [(await watch.read()).status for watch in (everything, model)] == [SERVING, SERVING]
    asked.inside.repository.drain()
    assert [(await watch.read()).status for watch in (everything, model)] == [NOT_SERVING, NOT_SERVING]
    stopping = asyncio.ensure_future(asked.server.stop(20))
    assert [await watch.code() for watch in watches] == [grpc.StatusCode.UNAVAILABLE] * 3
    await asyncio.wait_for(stopping, 10)


async def test_watches_of_strangers_hold_few_calls_and_take_no_client_offline(asked: Asked) -> None:
    asked.inside.served.serve(Echo())
    held = [asked.watch() for _ in range(grpc_health._MOST_WATCHES)]
    for watch in held:
        await watch.read()
    # Any other status would mean "not healthy" to gRPC's clients: see docs/reference/protocol-v2-grpc.md.
    assert await asked.watch().code() is grpc.StatusCode.UNIMPLEMENTED
    config = {"healthCheckConfig": {"serviceName": "cats"}, "loadBalancingConfig": [{"round_robin": {}}]}
    options = [("grpc.service_config", json.dumps(config)), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{asked.port}", options=options) as balanced:
        assert (await HealthStub(balanced).Check(HealthCheckRequest(), timeout=10)).status == SERVING
    held[0].cancel()
    assert await asyncio.wait_for(_status(asked), 10) == SERVING


async def test_a_model_is_asked_once_for_all_who_watch_it(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    served, is_ready = asked.inside.served, asked.inside.served.is_ready

    async def counted() -> bool:
        looks.append(1)
        return await is_ready()

    monkeypatch.setattr(served, "is_ready", counted)
    monkeypatch.setattr(grpc_health, "_LOOK_S", 60)
    watches = [asked.watch("cats") for _ in range(20)]
    assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}
    assert len(looks) == 1


async def _status(asked: Asked) -> int:
    """What a watch is told, once there is room for one more."""
    while True:
        try:
            return int((await asked.watch().read()).status)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.05)


async def test_bytes_that_are_no_message_are_the_callers_fault(asked: Asked) -> None:
    for kind, method in (("unary_unary", "Check"), ("unary_stream", "Watch")):
        call = getattr(asked.channel, kind)(f"/{grpc_health.SERVICE}/{method}")(b"\xff", timeout=10)
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_that_is_too_large_for_a_name_is_not_looked_at(asked: Asked) -> None:
    for kind, method in (("unary_unary", "Check"), ("unary_stream", "Watch")):
        call = getattr(asked.channel, kind)(f"/{grpc_health.SERVICE}/{method}")(b"\xff" * 70_000, timeout=10)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
