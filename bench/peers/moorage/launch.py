"""Our predictor, started as a person starts it with a model of their own."""

from bench.protocols.launch import Launch, Place
from bench.protocols.payloads import v2_body, v2_floats


def launch(place: Place) -> Launch:
    name = place.workload
    http_port, grpc_port = place.ports[:2]
    argv = [str(place.python), "-m", "moorage_predictor", f"--model-name={name}"]
    argv += [f"--task=bench/models/{name}.py:{name.title()}", f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    argv.append(f"--grpc-server={place.point['grpc_server']}")
    if place.point["workers"] > 1:
        argv.append(f"--workers={place.point['workers']}")
    return Launch(argv, f"/v2/models/{name}/infer", v2_body, v2_floats, grpc_port=grpc_port)
