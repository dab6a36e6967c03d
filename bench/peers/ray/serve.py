"""Ray Serve with the tiny network or the image classifier on a cluster of this one machine, on loopback. Started by
`launch.py`.
"""

import argparse
import base64
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import ray
from bench.peers.ray import loopback
from ray import serve
from starlette.requests import Request

BATCH_WAIT_S = {"tiny": 0.001, "images": 0.01}
MAX_ONGOING_REQUESTS = 1000


def tiny() -> Callable[[list[Any]], list[Any]]:
    """{"x": [four numbers]} -> {"y": [three numbers]}, many at once."""
    from bench.models.network import answer, build

    network = build()
    return lambda bodies: [{"y": y} for y in answer(network, [body["x"] for body in bodies])]


def images() -> Callable[[list[Any]], list[Any]]:
    """{"instances": [{"b64": ...}]}, one instance each -> {"predictions": [[best classes]]}, many at once."""
    from bench.models.images.classifier import Classifier

    classifier = Classifier.from_environment()

    def answer(bodies: list[Any]) -> list[Any]:
        found = classifier([base64.b64decode(body["instances"][0]["b64"]) for body in bodies])
        return [{"predictions": [best]} for best in found]

    return answer


WORKLOADS = {"tiny": tiny, "images": images}


@serve.deployment
class Direct:
    """One request per call."""

    def __init__(self, workload: str) -> None:
        self.answer = WORKLOADS[workload]()

    async def __call__(self, request: Request) -> dict[str, Any]:
        return self.answer([await request.json()])[0]


@serve.deployment
class Batched:
    """Requests that wait together are called together."""

    def __init__(self, workload: str, max_batch_size: int) -> None:
        self.answer = WORKLOADS[workload]()
        self.together.set_max_batch_size(max_batch_size)
        self.together.set_batch_wait_timeout_s(BATCH_WAIT_S[workload])

    @serve.batch
    async def together(self, bodies: list[Any]) -> list[Any]:
        return self.answer(bodies)

    async def __call__(self, request: Request) -> dict[str, Any]:
        return await self.together(await request.json())


def main() -> None:
    parser = argparse.ArgumentParser()
    for option in ("--port", "--replicas", "--max-batch-size"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
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
    workload = arguments.workload
    app = Batched.options(**options).bind(workload, size) if size > 1 else Direct.options(**options).bind(workload)
    serve.run(app, route_prefix="/predict")
    stop.wait()
    ray.shutdown()
    sys.exit(0)


if __name__ == "__main__":
    main()
