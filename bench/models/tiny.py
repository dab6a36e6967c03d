"""The tiny network behind `kserve.Model`, written as KServe's documentation writes a custom model.

The very same class runs in our predictor and in the KServe SDK's own server.
"""

import torch
from bench.models.network import build
from kserve import InferOutput, InferRequest, InferResponse, Model
from kserve.utils.utils import generate_uuid


class Tiny(Model):
    """`x` FP32 [n, 4] -> `y` FP32 [n, 3]."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.network: torch.nn.Module | None = None
        self.load()

    def load(self) -> bool:
        self.network = build()
        self.ready = True
        return self.ready

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        with torch.inference_mode():
            y = self.network(torch.tensor(payload.inputs[0].as_numpy()))
        output = InferOutput(name="y", shape=list(y.shape), datatype="FP32", data=y.flatten().tolist())
        return InferResponse(model_name=self.name, infer_outputs=[output], response_id=payload.id or generate_uuid())
