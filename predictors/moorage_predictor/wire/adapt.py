"""What was loaded -> the model that is served, whichever of four it is. Called by `runtime`, in the thread that loads.

| loaded                                   | becomes                                             |
|------------------------------------------|-----------------------------------------------------|
| a model of a built-in task               | that task's class of `tasks/table.py`               |
| a `kserve.Model` of the user's           | itself, loaded if it is not yet                     |
| an object with decode, batch or encode   | `hooked.HookedModel`: row by row                    |
| an object with `predict(inputs)`         | `ArrayModel`: a dictionary of arrays in and out     |
"""

from typing import Any

import numpy as np

from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import InvalidInput, LoadFailed, ModelFault
from moorage_predictor.tasks import table
from moorage_predictor.tasks.custom import has_hooks
from moorage_predictor.tasks.custom.rows import as_float32
from moorage_predictor.wire.datatypes import BY_DTYPE, BYTES
from moorage_predictor.wire.messages import InferOutput, InferRequest, InferResponse
from moorage_predictor.wire.pipeline import Model, sdk_of


def adapted(loaded: Any, settings: PredictorSettings) -> Model:
    """The model that the protocols call. In the thread that loads, where there is no event loop.

    Raises:
        LoadFailed: it is none of the four, or says that it did not load.
    """
    if settings.built_in:
        served: Model = table.of(settings.task, settings.runtime).model()(loaded, settings)
        return served
    if sdk := sdk_of(loaded):
        model: Model = sdk.ready(loaded, settings.task)
        return model
    if has_hooks(loaded):
        from moorage_predictor.wire.hooked import HookedModel

        return HookedModel(loaded, settings)
    if callable(getattr(loaded, "predict", None)):
        return ArrayModel(settings.model_name, loaded)
    raise LoadFailed(f"--task {settings.task}", "expected a kserve.Model or a class with predict(inputs)")


class ArrayModel:
    """A class of the user's whose `predict` takes and returns a dictionary of arrays by name; for V2, and for V1's
    `instances`, which arrive as the one input `instances` and leave as the first output's rows."""

    def __init__(self, name: str, own: Any) -> None:
        self.name = name
        self._own = own
        self.ready = True

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Answer one request."""
        if isinstance(payload, InferRequest):
            outputs = self._outputs({tensor.name: tensor.as_numpy() for tensor in payload.inputs})
            return InferResponse(payload.id, self.name, outputs)
        if "instances" not in payload:
            raise InvalidInput("the body: expected instances (a list of rows)")
        try:
            rows = np.asarray(payload["instances"])
        except ValueError as error:
            raise InvalidInput("instances: expected rows of equal length") from error
        if rows.dtype.kind == "f":
            rows = as_float32(rows, "instances")
        if rows.dtype.kind not in "biufU":
            raise InvalidInput("instances: expected rows of numbers or of strings")
        return {"predictions": self._outputs({"instances": rows})[0].data.tolist()}

    def stop(self) -> None:
        """After the last request; `close` is the user's, if there is one."""
        self.ready = False
        if callable(close := getattr(self._own, "close", None)):
            close()

    def get_input_types(self) -> list[dict[str, Any]]:
        """From the class's `inputs`, if it has them: `[{"name": ..., "datatype": ..., "shape": [...]}]`."""
        return list(getattr(self._own, "inputs", ()))

    def get_output_types(self) -> list[dict[str, Any]]:
        """From the class's `outputs`."""
        return list(getattr(self._own, "outputs", ()))

    def _outputs(self, inputs: dict[str, Any]) -> list[InferOutput]:
        answered = self._own.predict(inputs)
        if not isinstance(answered, dict):
            answered = {"output": answered}
        if not answered:
            raise ModelFault(f"the model {self.name} gave no outputs")
        outputs = []
        for name, value in answered.items():
            array = np.asarray(value)
            if array.dtype.kind in "SU":
                array = array.astype(np.object_)
            datatype = BY_DTYPE.get(array.dtype)
            if datatype is None or (
                datatype is BYTES and not all(isinstance(item, (str, bytes)) for item in array.flat)
            ):
                raise ModelFault(
                    f"output {name}: expected an array of numbers, booleans, strings or bytes, found {array.dtype}"
                )
            outputs.append(InferOutput(name, list(array.shape), datatype.name, array))
        return outputs
