"""Ray Serve: `replicas`, `max_batch_size` (1 is off), `throughput_optimized` (its own switch for that)."""

import json

from bench.protocols.launch import Launch, Place


def launch(place: Place) -> Launch:
    argv = [str(place.python), "bench/peers/ray/serve.py", f"--port={place.http_port}", f"--folder={place.folder}"]
    argv += [f"--replicas={place.point['replicas']}", f"--max-batch-size={place.point['max_batch_size']}"]
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": str(int(place.point["throughput_optimized"])),
    }
    return Launch(argv, "/predict", body, floats, environment)


def body(row: list[float]) -> bytes:
    return json.dumps({"x": row}, separators=(",", ":")).encode()


def floats(answer: bytes) -> list[float]:
    return json.loads(answer)["y"]
