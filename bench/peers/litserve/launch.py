"""LitServe: inference `workers`, HTTP processes `api_servers`, `max_batch_size` (1 is off); for images `torch_threads`."""

import json

from bench.harness.launch import Dialect, Launch, Place
from bench.predictor import dialects


def launch(place: Place) -> Launch:
    argv = [str(place.python), "bench/peers/litserve/serve.py", f"--port={place.http_port}"]
    argv.append(f"--workload={place.workload}")
    for name in ("workers", "api_servers", "max_batch_size"):
        argv.append(f"--{name.replace('_', '-')}={place.point[name]}")
    if place.workload == "images":
        return Launch(argv, dialects.v1("/predict"), dialects.environment(place))
    return Launch(argv, {"tiny": Dialect("/predict", body, floats)})


def body(row: list[float]) -> bytes:
    return json.dumps({"x": row}, separators=(",", ":")).encode()


def floats(answer: bytes) -> list[float]:
    return json.loads(answer)["y"]
