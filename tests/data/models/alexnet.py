"""The custom predictor of KServe's documentation, in the same hooks and signatures: it loads itself in its constructor,
takes a photo in V1's `instances[0].image.b64` or as V2's first input, and answers with the five best logits.
"""

import argparse
import base64
import io
from typing import Any

import torch
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.errors import InvalidInput
from kserve.utils.utils import generate_uuid
from PIL import Image
from torchvision import models, transforms


class AlexNetModel(Model):
    def __init__(self, name: str):
        super().__init__(name)
        self.load()

    def load(self):
        self.model = models.alexnet(weights=models.AlexNet_Weights.IMAGENET1K_V1)
        self.model.eval()
        self.ready = True

    async def predict(self, payload: dict | InferRequest, headers: dict[str, str] | None = None) -> Any:
        values = self.best(photo_of(payload))
        if isinstance(payload, InferRequest):
            output = InferOutput(name="output-0", shape=list(values.shape), datatype="FP32", data=values.tolist())
            return InferResponse(
                model_name=self.name, infer_outputs=[output], response_id=payload.id or generate_uuid()
            )
        return {"predictions": values.flatten().tolist()}

    def best(self, photo: Image.Image) -> torch.Tensor:
        prepare = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
            ]
        )
        with torch.no_grad():
            output = self.model(prepare(photo.convert("RGB")).unsqueeze(0))
        values, _ = torch.topk(output, 5)
        return values


class AlexNetWithHeaders(AlexNetModel):
    """The documentation's second form, whose predict also sets headers of the answer."""

    def __init__(self, name: str):
        Model.__init__(self, name, return_response_headers=True)
        self.load()

    async def predict(self, payload, headers=None, response_headers=None):
        answer = await AlexNetModel.predict(self, payload, headers)
        if response_headers is not None:
            response_headers.update({"x-photo-model": "alexnet"})
        return answer


def photo_of(payload: dict | InferRequest) -> Image.Image:
    if isinstance(payload, InferRequest):
        data = payload.inputs[0].data[0]
        file = data if isinstance(data, bytes) else base64.b64decode(data)
    else:
        try:
            file = base64.b64decode(payload["instances"][0]["image"]["b64"])
        except (KeyError, TypeError) as error:
            raise InvalidInput("expected instances[0].image.b64") from error
    return Image.open(io.BytesIO(file))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    arguments, _ = parser.parse_known_args()
    ModelServer().start([AlexNetModel(arguments.model_name)])
