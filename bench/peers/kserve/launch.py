"""The KServe SDK's server: `style` is "docs" or "quiet", see `serve.py`."""

from bench.protocols.launch import Launch, Place
from bench.protocols.payloads import v2_body, v2_floats


def launch(place: Place) -> Launch:
    name = place.workload
    http_port, grpc_port = place.ports[:2]
    argv = [str(place.python), "bench/peers/kserve/serve.py", f"--style={place.point['style']}"]
    argv += [f"--model=bench.models.{name}:{name.title()}", f"--http_port={http_port}", f"--grpc_port={grpc_port}"]
    argv += [f"--workers={place.point['workers']}"]
    return Launch(argv, f"/v2/models/{name}/infer", v2_body, v2_floats, grpc_port=grpc_port)
