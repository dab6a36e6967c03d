"""The controller as a process: settings in, exit code out. Called by `moor controller`.

settings -> credentials -> Cluster -> Engine -> kopf; beside it one small HTTP server for /healthz, /readyz and /metrics
"""

import asyncio
import logging
import os
import signal
import sys
from dataclasses import dataclass

import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from moorage.api import ExitCode
from moorage.api.jsonlog import configure
from moorage.controller import handlers
from moorage.controller.cluster import Cluster
from moorage.controller.credentials import CredentialsError, load
from moorage.controller.engine import Engine
from moorage.controller.instruments import Instruments
from moorage.render import RenderSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ControllerSettings:
    """What `moor controller` is told."""

    render: RenderSettings
    host: str = "127.0.0.1"
    port: int = 8085
    log_level: str = "info"


def main(settings: ControllerSettings) -> ExitCode:
    """Run until SIGTERM or SIGINT."""
    configure(settings.log_level, quiet=("kopf", "aiohttp", "asyncio"))
    try:
        return uvloop.run(_run(settings))
    except CredentialsError as error:
        sys.stderr.write(f"moor controller: {error}\n")
        return ExitCode.UNAVAILABLE


async def _run(settings: ControllerSettings) -> ExitCode:
    instruments = Instruments(CollectorRegistry())
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with Cluster(lambda: load(os.environ), instruments.api_request) as cluster:
        engine = Engine(cluster, settings.render, instruments)
        runner = web.AppRunner(_app(engine, instruments), access_log=None)
        await runner.setup()
        try:
            if not await _listen(runner, settings):
                return ExitCode.UNAVAILABLE
            log.info("controller started", extra={"host": settings.host, "port": settings.port})
            await handlers.run(engine, lambda: load(os.environ), stop)
        finally:
            await runner.cleanup()
    return ExitCode.OK


async def _listen(runner: web.AppRunner, settings: ControllerSettings) -> bool:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        sys.stderr.write(
            f"moor controller: cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
            "choose another with --host and --port\n"
        )
        return False
    return True


def _app(engine: Engine, instruments: Instruments) -> web.Application:
    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": engine.healthy()}, status=200 if engine.healthy() else 503)

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"ready": engine.ready()}, status=200 if engine.ready() else 503)

    async def metrics(_: web.Request) -> web.Response:
        engine.update_gauges()
        return web.Response(
            body=generate_latest(instruments.registry), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    app = web.Application()
    app.add_routes([web.get("/healthz", live), web.get("/readyz", ready), web.get("/metrics", metrics)])
    return app
