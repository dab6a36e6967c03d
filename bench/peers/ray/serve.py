"""Ray Serve with the tiny network on a cluster of this one machine, on loopback. Started by `launch.py`."""

import argparse
import signal
import sys
import threading
from typing import Any

import ray
from bench.models.network import answer, build
from bench.peers.ray import loopback
from ray import serve
from starlette.requests import Request

BATCH_WAIT_S = 0.001
MAX_ONGOING_REQUESTS = 1000


@serve.deployment
class Direct:
    """One row per call."""

    def __init__(self) -> None:
        self.network = build()

    async def __call__(self, request: Request) -> dict[str, Any]:
        row = (await request.json())["x"]
        return {"y": answer(self.network, [row])[0]}


@serve.deployment
class Batched:
    """Rows that wait together are called together."""

    def __init__(self, max_batch_size: int) -> None:
        self.network = build()
        self.rows.set_max_batch_size(max_batch_size)

    @serve.batch(batch_wait_timeout_s=BATCH_WAIT_S)
    async def rows(self, rows: list[list[float]]) -> list[list[float]]:
        return answer(self.network, rows)

    async def __call__(self, request: Request) -> dict[str, Any]:
        return {"y": await self.rows((await request.json())["x"])}


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--port", "--replicas", "--max-batch-size"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--folder", required=True)
    arguments = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    loopback.before_init()
    ray.init(
        num_cpus=4,  # more than there are: proxy, controller and replicas must all find a place
        include_dashboard=False,
        object_store_memory=100 * 1024 * 1024,
        _node_ip_address="127.0.0.1",
        _temp_dir=arguments.folder,
        logging_level="error",
        runtime_env={"worker_process_setup_hook": "bench.peers.ray.loopback.in_worker"},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port})
    options = {"num_replicas": arguments.replicas, "max_ongoing_requests": MAX_ONGOING_REQUESTS}
    size = arguments.max_batch_size
    app = Batched.options(**options).bind(size) if size > 1 else Direct.options(**options).bind()
    serve.run(app, route_prefix="/predict")
    stop.wait()
    ray.shutdown()
    sys.exit(0)


if __name__ == "__main__":
    main()
