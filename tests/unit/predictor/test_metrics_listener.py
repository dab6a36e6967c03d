"""Metrics on a port of their own, and how a process begins and ends with them."""

import asyncio
import errno
import socket
from pathlib import Path

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from tests.unit.predictor.served import Echo, InProcess

from moorage.api.predictor import PredictorSettings
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire.http.listener import HttpServer
from moorage_predictor.wire.http.metrics import MetricsApp
from moorage_predictor.wire.http.protocol import limited_protocol
from moorage_predictor.wire.http.types import Handler
from moorage_predictor.wire.metrics_listener import MetricsListener, metrics_of


def settings_of(**values: object) -> PredictorSettings:
    return PredictorSettings.model_validate({"task": "a.py:B", "model_name": "cats", **values})


def test_a_worker_for_whose_numbers_the_disk_has_no_room_counts_for_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    metrics = metrics_of(settings_of(metrics_dir=str(tmp_path)), CollectorRegistry())
    metrics.of("cats", "1").evicted()
    labels = {"model": "cats", "version": "1"}
    assert metrics.registry.get_sample_value("moorage_model_evictions_total", labels) == 1
    assert "this worker counts for itself alone" in caplog.text


async def test_probes_without_a_certificate_may_ask_beside_the_metrics() -> None:
    one = InProcess()
    transport = httpx.ASGITransport(MetricsApp(one.metrics, one.repository.is_ready))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        answer = await client.get("/v2/health/ready")
        assert (answer.status_code, answer.json()) == (503, {"ready": False})
        one.served.serve(Echo())
        answer = await client.get("/v2/health/ready")
        assert (answer.status_code, answer.json()) == (200, {"ready": True})
        assert (await client.get("/v2/models/cats/ready")).status_code == 404
        assert (await client.post("/v2/health/ready")).status_code == 405


async def test_who_asks_and_never_reads_does_not_keep_the_process() -> None:
    settings = settings_of(metrics_port=0)
    metrics = Metrics(CollectorRegistry())
    for number in range(100):
        metrics.of(f"model{number}", "1").v2.answered(200, 0.001)
    servers: list[uvicorn.Server] = []

    def make(app: Handler) -> uvicorn.Server:
        protocol = limited_protocol(settings)
        config = uvicorn.Config(app, loop="none", http=protocol, log_config=None, lifespan="off", ws="none")
        servers.append(HttpServer(config))
        return servers[-1]

    listener = MetricsListener(settings, metrics, make, InProcess().repository.is_ready)
    listener.start()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", listener.port))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n" * 200)
        # What the kernel does not take any more waits here.
        while not any(each.transport.get_write_buffer_size() for each in servers[0].server_state.connections):
            await asyncio.sleep(0.01)
        await asyncio.wait_for(listener.stop(), 60)
