"""Models that are a `kserve.Model`: they get the SDK's own request types, and all of their hooks are called. The only
module that imports kserve; `pipeline.py` and `adapt.py` import it once such a model is there.

The SDK asks anew for every request which hooks are coroutines, and times each with four histograms. Here that is found
out once for each model, and hooks that are the SDK's own are left out.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np
from kserve import InferInput, InferRequest, InferResponse, Model
from kserve.model import BaseKServeModel, InferenceVerb
from kserve.protocol.infer_type import RequestedOutput
from numpy.typing import NDArray

from moorage_predictor.errors import InvalidInput, LoadFailed
from moorage_predictor.wire import messages
from moorage_predictor.wire.datatypes import DATATYPES, Datatype

_log = logging.getLogger(__name__)

messages.InferResponse.register(InferResponse)


class SdkTensor(InferInput):  # type: ignore[misc]  # the SDK has no types
    """One named input, as the SDK's models expect it; but `as_numpy()` returns the array that is there already (the SDK's
    answers a client's mistake with a 500, and turns binary data into a list first), and `data` is made only for the models
    that want lists."""

    def __init__(
        self,
        name: str,
        shape: list[int],
        datatype: Datatype,
        array: NDArray[Any],
        *,
        data: list[Any] | None = None,
        parameters: messages.Parameters | None = None,
    ) -> None:
        # Not through super().__init__: this is the hot path, and the rest of it does nothing.
        self._name = name
        self._shape = shape
        self._datatype = datatype.name
        self._parameters = parameters
        self._data = data
        self._raw_data: bytes | None = None
        self._array = array

    def as_numpy(self) -> NDArray[Any]:
        """In the tensor's shape. BYTES are `str` objects where they came as JSON text, else `bytes`."""
        return self._array

    @property
    def data(self) -> list[Any]:
        """As in the JSON body; of binary data the flat list of its elements."""
        if self._raw_data is not None:
            return None  # type: ignore[return-value]  # as the SDK has it, when a model has set the data in bytes
        if self._data is None:
            flat = self._array.ravel()
            self._data = [_text(item) for item in flat] if self._datatype == "BYTES" else flat.tolist()
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        # Models replace it in preprocess; then it is what counts.
        self._data = data
        if isinstance(data, np.ndarray):
            self._array = data
        else:
            self._array = np.array(data, dtype=DATATYPES[self._datatype].dtype).reshape(self._shape)

    def set_data_from_numpy(self, input_tensor: NDArray[Any], binary_data: bool = True) -> None:
        """As the SDK's; the array is what counts from now on."""
        super().set_data_from_numpy(input_tensor, binary_data)
        self._array = input_tensor

    def as_string(self) -> list[list[str]]:
        """Rows of text; a tensor of one dimension is rows of one element.

        Raises:
            InvalidInput: the datatype is not BYTES, or the bytes are not UTF-8.
        """
        if self._datatype != "BYTES":
            raise InvalidInput(f"{self._name}: expected datatype BYTES, found {self._datatype}")
        rows = self._array.reshape(len(self._array), -1) if self._array.size else self._array.reshape(0, 0)
        try:
            return [[item if isinstance(item, str) else item.decode() for item in row] for row in rows]
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{self._name}: expected UTF-8 text") from error


def _text(item: str | bytes) -> str | bytes:
    if isinstance(item, str):
        return item
    try:
        return item.decode()
    except UnicodeDecodeError:
        return item


def _request(
    model_name: str,
    inputs: list[SdkTensor],
    request_id: str | None = None,
    parameters: messages.Parameters | None = None,
    request_outputs: list[RequestedOutput] | None = None,
    model_version: str | None = None,
    *,
    from_grpc: bool = False,
    raw: bool = False,
) -> Any:
    made = InferRequest(model_name, inputs, request_id, None, from_grpc, parameters, request_outputs, model_version)
    if raw:
        made._use_raw_outputs = True  # what the SDK's constructor does with raw_inputs
    return made


TYPES: Final = messages.Types(_request, SdkTensor, RequestedOutput)


def ready(model: Any, task: str) -> Any:
    """The model, loaded if it is not yet. In the thread that loads, where there is no event loop.

    The SDK drops a model that is not ready when it is registered; its documented example even says so of itself after it
    has loaded. Here what counts is that loading did not fail.

    Raises:
        LoadFailed: it says that it did not load, or starts an engine of its own.
    """
    if getattr(model, "engine", False):
        raise LoadFailed(f"--task {task}", "models that start an engine of their own are not supported")
    if not model.ready:
        try:
            model.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise LoadFailed(f"--task {task}", f"load() failed: {type(error).__name__}: {error}") from error
    if not model.ready:
        _log.warning("the model says ready=False after load(); it is served", extra={"model": model.name})
    model.start()
    model.ready = True
    for declares in ("get_input_types", "get_output_types"):
        if inspect.iscoroutinefunction(declare := getattr(model, declares, None)):
            declared = asyncio.run(declare())
            setattr(model, declares, lambda declared=declared: declared)
    return model


def has_own_call(model: Any) -> bool:
    """Whether the model has replaced `__call__`, and with it the order of the hooks."""
    return type(model).__call__ is not Model.__call__


def whole(model: Any, name: str) -> Callable[[Any, dict[str, str]], Awaitable[tuple[Any, dict[str, str]]]]:
    """`predict` or `explain` of such a model, called as the SDK would: the answer and the response headers."""
    verb = InferenceVerb.EXPLAIN if name == "explain" else InferenceVerb.PREDICT

    async def call(payload: Any, headers: dict[str, str]) -> tuple[Any, dict[str, str]]:
        result = model(payload, headers=headers, verb=verb)
        result = await result if inspect.isawaitable(result) else result
        return result if isinstance(result, tuple) else (result, {})

    return call


def hooks(model: Any, name: str) -> list[tuple[Callable[..., Any], bool]]:
    """The model's own hooks around `predict` or `explain`, in order, each with whether it takes response headers."""
    # Only predict and postprocess know response headers, and only if the model asked for them.
    with_headers = bool(getattr(model, "required_response_headers", False))
    return [
        (getattr(model, hook), with_headers and hook in ("predict", "postprocess"))
        for hook in ("preprocess", name, "postprocess")
        if hook == name or not _is_sdks(model, hook)
    ]


def explains(model: Any) -> bool:
    """Whether the model has explanations to give."""
    return has_own_call(model) or not _is_sdks(model, "explain") or bool(getattr(model, "explainer_host", None))


def health(model: Any) -> Callable[[], Awaitable[Any]] | None:
    """The model's own health check; None if it has only the SDK's, which says what `ready` says."""
    if getattr(type(model), "healthy", None) in (None, BaseKServeModel.healthy):
        return None
    check: Callable[[], Awaitable[Any]] = model.healthy
    return check


def _is_sdks(model: Any, hook: str) -> bool:
    own = getattr(model, hook, None)
    return getattr(own, "__func__", own) is getattr(Model, hook)
