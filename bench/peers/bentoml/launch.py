"""BentoML: `style` is "batched", "threaded" or "direct" (see `service.py`, `images.py`), `workers`, `threads`,
`max_batch_size`; for images `torch_threads`.
"""

import json

from bench.harness.launch import Dialect, Launch, Place
from bench.predictor import dialects
from bench.protocols.payloads import flat


def launch(place: Place) -> Launch:
    point = place.point
    module = "images" if place.workload == "images" else "service"
    argv = [str(place.python), "-m", "bentoml", "serve", f"bench.peers.bentoml.{module}:{point['style'].title()}"]
    argv += ["--host=127.0.0.1", f"--port={place.http_port}"]
    environment = {
        "BENTOML_HOME": str(place.folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENCH_WORKERS": str(point["workers"]),
        "BENCH_THREADS": str(point["threads"]),
        "BENCH_MAX_BATCH_SIZE": str(point["max_batch_size"]),
    }
    if place.workload == "images":
        return Launch(argv, dialects.v1("/predict"), environment | dialects.environment(place))
    return Launch(argv, {"tiny": Dialect("/predict", body, floats)}, environment)


def body(row: list[float]) -> bytes:
    return json.dumps({"x": [row]}, separators=(",", ":")).encode()


def floats(answer: bytes) -> list[float]:
    return flat(json.loads(answer))
