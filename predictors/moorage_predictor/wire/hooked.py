"""A class of the user's with hooks as a model: a request -> its items -> the task's stages -> an answer, for every protocol.
Made by `adapt.py`.

|     | an item is                                                         | the answers go out as                    |
|-----|--------------------------------------------------------------------|------------------------------------------|
| V1  | one of `instances`; `{"b64": ...}` is bytes, alone or in an object | `predictions`                            |
| V2  | a row of the only input; of several inputs a dictionary by name    | an output, or of dictionaries one by key |
"""

import logging
from typing import Any, Final

from moorage.api.predictor import PredictorSettings
from moorage_predictor.engine import cores
from moorage_predictor.errors import InvalidInput
from moorage_predictor.tasks.custom.hooks import HookFailed, Hooks
from moorage_predictor.tasks.custom.rows import plain
from moorage_predictor.tasks.custom.stages import MAX_BATCH_SIZE, Stages
from moorage_predictor.wire.batching_model import BatchingModel, limits_of
from moorage_predictor.wire.hooked_outputs import outputs_of
from moorage_predictor.wire.images import from_base64
from moorage_predictor.wire.lane import Lane
from moorage_predictor.wire.messages import InferRequest, InferResponse, Tensor
from moorage_predictor.wire.pipeline import said_by_model
from moorage_predictor.wire.urgency import urgency

_log = logging.getLogger(__name__)

_CONTENT_TYPE: Final = "content_type"
"""The parameter by which clients of MLServer say that text is base64."""


class HookedModel(BatchingModel):
    """One object of the user's."""

    takes_bytes = True
    """A V1 instance may hold the file itself."""

    def __init__(self, own: Any, settings: PredictorSettings) -> None:
        """Of an object that is set up.

        Raises:
            LoadFailed: the class has not the hooks that it needs.
        """
        name = settings.model_name
        self._own = own
        self._most_bytes = settings.max_body_bytes
        self.lane = Lane(name)
        """Where `batch` and `predict` run; the pipeline watches it."""
        limits = limits_of(settings, MAX_BATCH_SIZE)
        self._stages = Stages(Hooks(own, name), name, limits, cores.available(), self.lane.run)
        super().__init__(settings, self._stages.batcher, self._stages.close)

    def parameters(self) -> dict[str, Any]:
        """How it runs, for the model's config."""
        return {"max_batch_size": self._batcher.max_batch_size}

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> dict[str, Any] | InferResponse:
        """Answer one request: of V1 a dictionary, of V2 REST and gRPC an InferRequest.

        Raises:
            RequestError: see `errors.py`; what a hook has said on purpose, or that it failed.
        """
        try:
            if isinstance(payload, InferRequest):
                priority = urgency(headers or {}, payload.parameters).priority
                items = _items_of(payload.inputs, self._most_bytes)
                answers = await self._stages.answer(items, "inputs", priority)
                return InferResponse(payload.id, self.name, outputs_of(answers, self.get_output_types()))
            instances = _instances_of(payload, self._most_bytes)
            if not instances:
                return {"predictions": []}
            answers = await self._stages.answer(instances, "instances", urgency(headers or {}).priority)
            return {"predictions": plain(answers)}
        except HookFailed as failed:
            if failed.__cause__ and (said := said_by_model(self.name, failed.__cause__)):
                raise said from failed
            told = {"model": self.name, "hook": failed.hook, "where": failed.where}
            _log.error("a hook failed", extra=told, exc_info=failed.__cause__)
            raise

    def get_input_types(self) -> list[dict[str, Any]]:
        """From the class's `inputs`, if it has them: `[{"name": ..., "datatype": ..., "shape": [...]}]`."""
        return list(getattr(self._own, "inputs", ()))

    def get_output_types(self) -> list[dict[str, Any]]:
        """From the class's `outputs`."""
        return list(getattr(self._own, "outputs", ()))


def _instances_of(body: Any, most_bytes: int) -> list[Any]:
    if not isinstance(body, dict) or "instances" not in body:
        raise InvalidInput("the body: expected instances (a list of items)")
    return [_with_bytes(item, f"instances[{at}]", most_bytes) for at, item in enumerate(body["instances"])]


def _with_bytes(item: Any, name: str, most_bytes: int) -> Any:
    """The item with bytes in place of `{"b64": ...}`, itself or one of its fields."""
    if not isinstance(item, dict):
        return item
    if set(item) == {"b64"} and isinstance(given := item["b64"], (str, bytes)):
        return given if isinstance(given, bytes) else from_base64(given, name, most_bytes)
    return {
        key: _with_bytes(value, f"{name}.{key}", most_bytes)
        if isinstance(value, dict) and set(value) == {"b64"}
        else value
        for key, value in item.items()
    }


def _items_of(inputs: list[Tensor], most_bytes: int) -> list[Any]:
    columns = {tensor.name: _rows_of(tensor, most_bytes) for tensor in inputs}
    counts = {name: len(rows) for name, rows in columns.items()}
    if len(set(counts.values())) != 1 or not next(iter(counts.values())):
        found = ", ".join(f"{count} in {name}" for name, count in counts.items()) or "no input"
        raise InvalidInput(f"inputs: expected rows, as many in each input, found {found}")
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _rows_of(tensor: Tensor, most_bytes: int) -> list[Any]:
    if not tensor.shape:
        raise InvalidInput(f"{tensor.name}: shape: expected a first dimension, which counts rows, found []")
    rows = list(tensor.as_numpy())
    if tensor.datatype == "BYTES" and tensor.parameters and tensor.parameters.get(_CONTENT_TYPE) == "base64":
        return [
            from_base64(row, f"{tensor.name}[{at}]", most_bytes) if isinstance(row, str) else row
            for at, row in enumerate(rows)
        ]
    return rows
