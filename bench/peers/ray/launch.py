"""Ray Serve: `replicas`, `max_batch_size` (1 is off), `throughput_optimized` (its own switch for that); for images
`torch_threads`.
"""

import json

from bench.harness.launch import Dialect, Launch, Place
from bench.predictor import dialects


def launch(place: Place) -> Launch:
    argv = [str(place.python), "bench/peers/ray/serve.py", f"--port={place.http_port}", f"--folder={place.folder}"]
    argv += [f"--replicas={place.point['replicas']}", f"--max-batch-size={place.point['max_batch_size']}"]
    argv.append(f"--workload={place.workload}")
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": str(int(place.point["throughput_optimized"])),
    }
    if place.workload == "images":
        return Launch(argv, dialects.v1("/predict"), environment | dialects.environment(place))
    return Launch(argv, {"tiny": Dialect("/predict", body, floats)}, environment)


def body(row: list[float]) -> bytes:
    return json.dumps({"x": row}, separators=(",", ":")).encode()


def floats(answer: bytes) -> list[float]:
    return json.loads(answer)["y"]
