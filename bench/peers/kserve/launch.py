"""The KServe SDK's server: `style` is "docs" or "quiet", see `serve.py`. For images: `workers`, `torch_threads`,
`pool_threads`, see `bench.models.images.kserve_model`.
"""

from bench.harness.launch import Launch, Place
from bench.predictor import dialects
from bench.protocols.payloads import READY, v2


def launch(place: Place) -> Launch:
    name = place.workload
    http_port, grpc_port = place.ports[:2]
    argv = [str(place.python), "bench/peers/kserve/serve.py", f"--style={place.point['style']}"]
    argv += [f"--http_port={http_port}", f"--grpc_port={grpc_port}", f"--workers={place.point['workers']}"]
    if name == "images":
        argv.append("--model=bench.models.images.kserve_model:Photos")
        environment = dialects.environment(place) | {"BENCH_POOL_THREADS": str(place.point["pool_threads"])}
        # In V2 a file as BYTES is 500: the SDK takes whatever it is for text in UTF-8.
        return Launch(argv, dialects.v1(f"/v1/models/{dialects.MODEL}:predict"), environment, grpc_port, READY)
    argv.append(f"--model=bench.models.{name}:{name.title()}")
    return Launch(argv, {name: v2(f"/v2/models/{name}/infer")}, grpc_port=grpc_port, ready=READY)
