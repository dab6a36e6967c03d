"""LitServe: inference `workers`, HTTP processes `api_servers`, `max_batch_size` (1 is off)."""

import json

from bench.protocols.launch import Launch, Place


def launch(place: Place) -> Launch:
    argv = [str(place.python), "bench/peers/litserve/serve.py", f"--port={place.http_port}"]
    for name in ("workers", "api_servers", "max_batch_size"):
        argv.append(f"--{name.replace('_', '-')}={place.point[name]}")
    return Launch(argv, "/predict", body, floats)


def body(row: list[float]) -> bytes:
    return json.dumps({"x": row}, separators=(",", ":")).encode()


def floats(answer: bytes) -> list[float]:
    return json.loads(answer)["y"]
