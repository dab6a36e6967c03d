"""A model that answers with what it was asked: every input comes back as an output of the same name, bit for bit.

`moor conformance --identity NAME` checks a server with it. It is a plain `kserve.Model`, so the same class runs in KServe's
own ModelServer and in ours:

    python -m moorage_predictor --model-name=identity --task=moorage_predictor.examples.identity:Identity
"""

import uuid
from typing import Any

from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model


class Identity(Model):  # type: ignore[misc]  # the SDK has no types
    """Takes any inputs, so it declares none. It checks nothing: what a wrong request meets is the server alone."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def predict(
        self, payload: dict[str, Any] | InferRequest, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """V2 inputs as outputs; V1 instances (or columns) as predictions."""
        if isinstance(payload, InferRequest):
            return _echo(payload)
        return {"predictions": _instances(payload)}

    def explain(
        self, payload: dict[str, Any] | InferRequest, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """V1 instances (or columns) as explanations."""
        if isinstance(payload, InferRequest):
            return _echo(payload)
        return {"explanations": _instances(payload)}


class Vector(Identity):
    """The same, but it declares its one input and output, as most models do: what clients do with metadata."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """A list of numbers, as long as one likes."""
        return [{"name": "vector", "datatype": "FP32", "shape": [-1]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The same."""
        return self.get_input_types()


def _instances(payload: dict[str, Any]) -> Any:
    return payload["instances"] if "instances" in payload else payload["inputs"]


def _echo(request: InferRequest) -> InferResponse:
    """The answer, in the encoding that the request asks for: the SDK forgets it unless it is handed on."""
    over_rest = not request.from_grpc
    return InferResponse(
        response_id=request.id or str(uuid.uuid4()),  # the SDK refuses an answer without one
        model_name=request.model_name,
        infer_outputs=[_output(tensor, request) for tensor in request.inputs],
        from_grpc=request.from_grpc,
        use_binary_outputs=request.use_binary_outputs and over_rest,
        requested_outputs=request.request_outputs if over_rest else None,
    )


def _output(tensor: InferInput, request: InferRequest) -> InferOutput:
    output = InferOutput(name=tensor.name, shape=tensor.shape, datatype=tensor.datatype)
    if not request.from_grpc:
        output.data = tensor.as_numpy()
    elif request.use_binary_outputs:  # over gRPC: the inputs came as raw contents, so the outputs go as such
        output.set_data_from_numpy(tensor.as_numpy(), binary_data=True)
    else:
        output.data = tensor.data
    return output
