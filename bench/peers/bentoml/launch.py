"""BentoML: `style` is "batched", "threaded" or "direct" (see `service.py`), `workers`, `threads`, `max_batch_size`."""

import json

from bench.protocols.launch import Launch, Place
from bench.protocols.payloads import flat


def launch(place: Place) -> Launch:
    point = place.point
    argv = [str(place.python), "-m", "bentoml", "serve", f"bench.peers.bentoml.service:{point['style'].title()}"]
    argv += ["--host=127.0.0.1", f"--port={place.http_port}"]
    environment = {
        "BENTOML_HOME": str(place.folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENCH_WORKERS": str(point["workers"]),
        "BENCH_THREADS": str(point["threads"]),
        "BENCH_MAX_BATCH_SIZE": str(point["max_batch_size"]),
    }
    return Launch(argv, "/predict", body, floats, environment)


def body(row: list[float]) -> bytes:
    return json.dumps({"x": [row]}, separators=(",", ":")).encode()


def floats(answer: bytes) -> list[float]:
    return flat(json.loads(answer))
