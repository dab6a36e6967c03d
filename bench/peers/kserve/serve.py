"""The KServe SDK's own server with a model of the bench, on loopback. Started by `launch.py`.

`--style docs` is what KServe's documentation shows. `--style quiet` is the best we know to make of it without changing
its code: no log lines per request, and uvloop, which one worker otherwise ignores.
"""

import argparse
import asyncio
import importlib
import logging
from typing import Any

import grpc.aio
import kserve
import uvicorn
import uvloop


def on_loopback() -> None:
    """KServe listens on every address and has no option for it; the bench must not."""
    configure = uvicorn.Config.__init__
    create = grpc.aio.server

    def init(self: uvicorn.Config, *arguments: Any, **options: Any) -> None:
        configure(self, *arguments, **options | {"host": "127.0.0.1"})

    def server(*arguments: Any, **options: Any) -> grpc.aio.Server:
        made = create(*arguments, **options)
        add_port = made.add_insecure_port
        made.add_insecure_port = lambda address: add_port(address.replace("[::]", "127.0.0.1"))
        return made

    uvicorn.Config.__init__ = init
    grpc.aio.server = server


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--style", choices=("docs", "quiet"), required=True)
    parser.add_argument("--model", required=True, help="module:Class")
    parser.add_argument("--http_port", type=int, required=True)
    parser.add_argument("--grpc_port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    arguments, _ = parser.parse_known_args()
    module, _, name = arguments.model.partition(":")
    model = getattr(importlib.import_module(module), name)(name.lower())
    on_loopback()
    quiet = arguments.style == "quiet"
    if quiet:
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.set_event_loop(asyncio.new_event_loop())  # ModelServer.start asks for one before it runs any
    server = kserve.ModelServer(
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        workers=arguments.workers,
        enable_latency_logging=not quiet,
    )
    if quiet:
        for logger in ("kserve", "kserve.trace", "uvicorn", "uvicorn.access"):
            logging.getLogger(logger).setLevel(logging.ERROR)
    server.start([model])


if __name__ == "__main__":
    main()
