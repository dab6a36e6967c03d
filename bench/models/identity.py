"""A model that gives back what it gets: the binary tensor workload, where moving the bytes is all there is to do."""

from kserve import InferOutput, InferRequest, InferResponse, Model
from kserve.utils.utils import generate_uuid


class Identity(Model):
    """`x` of any shape -> `y`, the same; binary where the request asks for it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        self.ready = True
        return self.ready

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        x = payload.inputs[0].as_numpy()
        return InferResponse(
            model_name=self.name,
            infer_outputs=[InferOutput(name="y", shape=list(x.shape), datatype="FP32", data=x)],
            response_id=payload.id or generate_uuid(),
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )
