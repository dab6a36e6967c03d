"""Our predictor, started as a person starts it: with a model of their own, or with the folder of a network."""

from collections.abc import Mapping
from typing import Any

from bench.harness.launch import Launch, Place
from bench.predictor import dialects, engines
from bench.protocols.payloads import v2


def launch(place: Place) -> Launch:
    http_port, grpc_port = place.ports[:2]
    argv = [str(place.python), "-m", "moorage_predictor", f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    if place.workload == "images":
        options = {"model_name": dialects.MODEL} | engines.options(place.model or place.folder, place.point)
        return Launch(argv + _options(options), dialects.v1_and_v2(), grpc_port=grpc_port)
    name = place.workload
    argv += [f"--model-name={name}", f"--task=bench/models/{name}.py:{name.title()}"]
    argv += _options(place.point)
    return Launch(argv, {name: v2(f"/v2/models/{name}/infer")}, grpc_port=grpc_port)


def _options(settings: Mapping[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
