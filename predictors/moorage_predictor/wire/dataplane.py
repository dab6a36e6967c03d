"""The SDK's data plane, with readiness that tells the truth and bad request bodies that fail as a client's mistake."""

from typing import Any

from cloudevents.sdk.converters.util import has_binary_headers
from kserve import InferRequest
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER, PredictorProtocol
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane

from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire.model import ClassifierModel
from moorage_predictor.wire.requests import infer_request, parse_json


class MoorageDataPlane(DataPlane):  # type: ignore[misc]  # the SDK has no types
    """What `wire/http.py` and `wire/grpc.py` both stand on; it holds exactly one model."""

    def __init__(self, model: ClassifierModel) -> None:
        registry = ModelRepository()
        registry.update(model)
        super().__init__(model_registry=registry)
        self._model = model

    async def ready(self) -> bool:
        """True while the model answers; the SDK's own is always true."""
        return bool(self._model.ready)

    def metadata(self) -> dict[str, Any]:
        """Of the server; the repository extension is off, so it is not announced."""
        return {**super().metadata(), "extensions": ["binary_tensor_data"]}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """Of the model, which need not be loaded yet."""
        return {
            **await super().model_metadata(model_name),
            "versions": [self._model.version],
            "platform": "moorage_timm",
        }

    def admit(self) -> None:
        """Before the body is read.

        Raises:
            ModelUnavailable: the model is still loading, or has as many requests as it may.
        """
        self._model.admit()

    def decode(
        self,
        body: Any,
        headers: dict[str, str],
        protocol_version: str = PredictorProtocol.REST_V1.value,
        model_name: str | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """The SDK's request object; the Content-Type does not matter, save for CloudEvents.

        Raises:
            InvalidInput: the body does not follow the protocol.
        """
        if isinstance(body, InferRequest):
            return body, {}
        if protocol_version == PredictorProtocol.REST_V2.value:
            return infer_request(body, headers.get(INFERENCE_CONTENT_LENGTH_HEADER), model_name or ""), {}
        if has_binary_headers(headers) or headers.get("content-type") == "application/cloudevents+json":
            try:
                return super().decode(body, headers, protocol_version, model_name)  # type: ignore[no-any-return]
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise InvalidInput("the body: expected a CloudEvent with JSON data") from error
        return parse_json(body), {}
