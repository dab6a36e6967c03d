"""MLServer: `parallel_workers` (0 is in the server's own process) and `max_batch_size` (0 is off). It speaks V2."""

import json

from bench.protocols.launch import Launch, Place
from bench.protocols.payloads import v2_body, v2_floats

BATCH_WAIT_S = 0.001


def launch(place: Place) -> Launch:
    http_port, grpc_port, metrics_port = place.ports[:3]
    settings = {
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": place.point["parallel_workers"],
        "debug": False,
        "environments_dir": str(place.folder / "environments"),
    }
    size = place.point["max_batch_size"]
    model = {
        "name": "tiny",
        "implementation": "bench.peers.mlserver.runtime.Tiny",
        "max_batch_size": size,
        "max_batch_time": BATCH_WAIT_S if size > 1 else 0.0,
    }
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    argv = [str(place.python.with_name("mlserver")), "start", str(place.folder)]
    return Launch(argv, "/v2/models/tiny/infer", v2_body, v2_floats)
