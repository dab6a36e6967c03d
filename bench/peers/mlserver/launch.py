"""MLServer: `parallel_workers` (0 is in the server's own process) and `max_batch_size` (0 is off); for images
`torch_threads`. It speaks V2.
"""

import json

from bench.harness.launch import Launch, Place
from bench.predictor import dialects
from bench.protocols.payloads import READY, v2

BATCH_WAIT_S = {"tiny": 0.001, "images": 0.01}


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
        "metrics_dir": str(place.folder / "metrics"),
    }
    is_images = place.workload == "images"
    name = dialects.MODEL if is_images else "tiny"
    size = place.point["max_batch_size"]
    model = {
        "name": name,
        "implementation": f"bench.peers.mlserver.{'images.Images' if is_images else 'runtime.Tiny'}",
        "max_batch_size": size,
        "max_batch_time": BATCH_WAIT_S[place.workload] if size > 1 else 0.0,
    }
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    argv = [str(place.python.with_name("mlserver")), "start", str(place.folder)]
    if is_images:
        return Launch(argv, dialects.v2_json(), dialects.environment(place), ready=READY)
    return Launch(argv, {"tiny": v2("/v2/models/tiny/infer")}, ready=READY)
