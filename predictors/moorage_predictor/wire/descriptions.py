"""What the server and its models say of themselves, for REST and gRPC alike. Called by `http/endpoints.py` and `grpc.py`."""

from typing import Any, Final

from moorage_predictor.wire.datatypes import DATATYPES
from moorage_predictor.wire.served import Served
from moorage_predictor.wire.versions import Versions

PRODUCT: Final = "moorage"
EXTENSIONS: Final = (
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
    "trace",
    "logging",
    "binary_tensor_data",
    "parameters",
)


def metadata(served: Served, versions: Versions) -> dict[str, Any]:
    """Of one version, which need not be loaded, beside the model's other versions."""
    return {
        "name": served.name,
        "versions": [one.version for one in versions],
        "platform": served.platform,
        "inputs": served.input_types(),
        "outputs": served.output_types(),
    }


def config(served: Served) -> dict[str, Any]:
    """Of one model, in the fields of Triton's model configuration that say something here. Shapes are whole: the batch is
    a dimension like the others, so `max_batch_size` is 0."""
    return {
        "name": served.name,
        "platform": served.platform,
        "backend": "python",
        "version_policy": served.version_policy,
        "max_batch_size": 0,
        "input": [_tensor(declared) for declared in served.input_types()],
        "output": [_tensor(declared) for declared in served.output_types()],
        "parameters": {name: {"string_value": str(value)} for name, value in served.parameters().items()},
    }


def _tensor(declared: dict[str, Any]) -> dict[str, Any]:
    datatype = DATATYPES.get(declared["datatype"])
    return {
        "name": declared["name"],
        "data_type": datatype.config_name if datatype else "TYPE_INVALID",
        "dims": declared["shape"],
    }
