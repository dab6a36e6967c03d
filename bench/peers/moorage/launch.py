"""Our predictor, started as a person starts it: with a model of their own, or with the folder of a network."""

from bench.harness.errors import NotThere
from bench.harness.launch import Launch, Place
from bench.predictor import dialects
from bench.protocols.payloads import v2

from moorage.api.predictor import PredictorSettings


def launch(place: Place) -> Launch:
    http_port, grpc_port = place.ports[:2]
    argv = [str(place.python), "-m", "moorage_predictor", f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    if place.workload == "images":
        return Launch(argv + image_options(place), dialects.v1_and_v2(), grpc_port=grpc_port)
    name = place.workload
    argv += [f"--model-name={name}", f"--task=bench/models/{name}.py:{name.title()}"]
    argv += [f"--{setting.replace('_', '-')}={value}" for setting, value in place.point.items()]
    return Launch(argv, {name: v2(f"/v2/models/{name}/infer")}, grpc_port=grpc_port)


def image_options(place: Place) -> list[str]:
    """The point's settings are the predictor's own, by their names."""
    options = [f"--model-name={dialects.MODEL}", "--task=image-classification", f"--model-dir={place.model}"]
    for name, value in place.point.items():
        if name not in PredictorSettings.model_fields:
            if (name, value) == ("precision", "fp32"):
                continue  # before there was a choice, it was this
            raise NotThere(f"this predictor has no setting {name}")
        options.append(f"--{name.replace('_', '-')}={value}")
    return options
