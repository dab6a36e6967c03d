"""MLServer's custom runtime with the image classifier. `launch.py` configures it."""

import numpy as np
from bench.models.images.classifier import Classifier
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Images(MLModel):
    """`image`, BYTES [n, 1] in base64 -> `class_id` and `confidence` [n, 5]."""

    async def load(self) -> bool:
        self.classifier = Classifier.from_environment()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = self.classifier(Base64Codec.decode_input(payload.inputs[0]))
        outputs = [
            NumpyCodec.encode_output(name, np.array([[one[name] for one in best] for best in found], dtype=dtype))
            for name, dtype in (("class_id", np.int64), ("confidence", np.float32))
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
