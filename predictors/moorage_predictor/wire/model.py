"""The image classifier as a model: a request -> the task's stages -> an answer, for every protocol. Made by `adapt.py`."""

import time
from typing import Any

from moorage.api.predictor import PredictorSettings
from moorage_predictor.engine import cores, info
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.image_classification import PLAIN, ImageClassifier
from moorage_predictor.tasks.image_classification.stages import MAX_BATCH_SIZE, Stages
from moorage_predictor.wire import images, options, outputs, v1
from moorage_predictor.wire.batching_model import BatchingModel, limits_of
from moorage_predictor.wire.messages import InferRequest, InferResponse
from moorage_predictor.wire.urgency import urgency


class ClassifierModel(BatchingModel):
    """One loaded classifier."""

    takes_bytes = True
    """A V1 instance may hold the file itself."""
    bulky = staticmethod(outputs.bulky)
    """Which answers are encoded beside the loop."""

    def __init__(self, classifier: ImageClassifier, settings: PredictorSettings) -> None:
        self._classifier = classifier
        self._more = _more(classifier)
        self._max_image_bytes = settings.max_image_bytes
        self._stages = Stages(classifier, limits_of(settings, MAX_BATCH_SIZE), cores.available())
        self.tune = self._stages.tune
        """To be awaited beside the first requests."""
        super().__init__(settings, self._stages.batcher, self._stages.close)

    @property
    def runs_on(self) -> tuple[str, str]:
        """Its engine, and the number format of its forward passes."""
        engine = self._classifier.engine
        return engine.get("engine", "eager"), engine.get("precision", "fp32")

    def parameters(self) -> dict[str, Any]:
        """How it runs, for the model's config."""
        batching = {"max_batch_size": self._batcher.max_batch_size, **self._stages.split.as_dict()}
        return {**self._classifier.engine, **info.gpu_memory(), **batching}

    def labels(self, output: str) -> tuple[str, ...] | None:
        """Names of the classes, in the order of `logits`."""
        return self._classifier.names if output == "logits" else None

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> dict[str, Any] | InferResponse:
        """Answer one request: of V1 a dictionary, of V2 REST and gRPC an InferRequest.

        Raises:
            RequestError: see `errors.py`.
        """
        started = time.perf_counter()
        if isinstance(payload, InferRequest):
            requested = outputs.wanted(payload, self._more, classes=self._classifier.num_classes > 0)
            priority = urgency(headers or {}, payload.parameters).priority
            named = requested if payload.request_outputs else ()
            as_text = not outputs.in_bytes(payload, options.ATTENTION)
            asked = options.asked(payload.parameters, named, self._classifier, as_text=as_text)
            result = await self._stages.classify(
                lambda: images.images_of(payload.inputs, self._max_image_bytes), priority, asked
            )
            give = outputs.response if asked is PLAIN else outputs.with_more
            return give(payload, requested, result)
        if not isinstance(payload, dict):
            raise InvalidInput("the body: expected a JSON object")
        asked = options.asked(v1.parameters_of(payload), (), self._classifier, as_text=True)
        result = await self._stages.classify(
            lambda: v1.images_of(payload, self._max_image_bytes), urgency(headers or {}).priority, asked
        )
        answer = v1.response(result, time.perf_counter() - started)
        return answer if asked is PLAIN else outputs.into_v1(answer, result)

    def get_input_types(self) -> list[dict[str, Any]]:
        """The three forms of `image`; -1 is any size."""
        height, width = self._classifier.input_size
        return [
            {"name": images.INPUT_NAME, "datatype": "BYTES", "shape": [-1]},
            {"name": images.INPUT_NAME, "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
            {"name": images.INPUT_NAME, "datatype": "FP32", "shape": [-1, 3, height, width]},
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Every output, also those that are given only when asked for."""
        top_k, classes = self._classifier.top_k, self._classifier.num_classes
        usual = [
            {"name": name, "datatype": datatype, "shape": [-1, classes if name == "logits" else top_k]}
            for name, datatype in (outputs.DATATYPES.items() if classes else ())
        ]
        return usual + [
            {"name": name, "datatype": outputs.MORE[name], "shape": shape} for name, shape in self._more.items()
        ]


def _more(classifier: ImageClassifier) -> dict[str, list[int]]:
    """The outputs that this network gives when they are asked for, and their usual shapes."""
    found: dict[str, list[int]] = {}
    if inspect := classifier.inspect:
        if inspect.widths:
            found[options.FEATURES] = [-1, next(iter(inspect.widths.values()))]
        if inspect.tokens:
            found[options.ATTENTION] = [-1, 1, inspect.tokens.count, inspect.tokens.count]
            found[options.OVERLAY] = [-1]
    return found
