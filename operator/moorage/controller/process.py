"""The controller as a process: settings in, exit code out. Called by `moor controller`.

settings -> Parts (election, engine, discovery, intake) beside one small HTTP server (health.py), until SIGTERM
"""

import asyncio
import logging
import secrets
import signal
import socket
import sys

import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector

from moorage import __version__
from moorage.api import ExitCode
from moorage.api.jsonlog import configure
from moorage.controller.credentials import CredentialsError
from moorage.controller.health import app
from moorage.controller.instruments import Instruments
from moorage.controller.parts import ControllerSettings as ControllerSettings
from moorage.controller.parts import connected

log = logging.getLogger(__name__)


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
    ProcessCollector(registry=instruments.registry)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
    async with connected(settings, instruments, identity) as parts:
        server = app(parts.health(), instruments, parts.update_gauges, profile=settings.profiling)
        runner = web.AppRunner(server, access_log=None)
        await runner.setup()
        try:
            if not await _listen(runner, settings):
                return ExitCode.UNAVAILABLE
            words = {"host": settings.host, "port": settings.port, "identity": identity, "version": __version__}
            log.info("controller started", extra=words)
            async with parts.running():
                await stop.wait()
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
