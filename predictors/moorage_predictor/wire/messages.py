"""A V2 request and its answer between the protocols and a model. `decode.py` and `grpc_messages.py` make requests, models
make answers, `encode.py` and `grpc_messages.py` read them.

The attributes are named as the KServe SDK names them. A model that is a `kserve.Model` gets and gives the SDK's own types
(`sdk.py`); for all others these are enough, and the SDK, which costs 1.6 s and 90 MB to import, stays out.
"""

from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from moorage_predictor.wire.datatypes import Datatype

Parameters = dict[str, Any]
"""Strings, numbers and booleans by name."""


class Tensor:
    """One named input, checked. BYTES are `str` objects where they came as JSON text, else `bytes`."""

    __slots__ = ("_array", "datatype", "name", "parameters", "shape")

    def __init__(
        self,
        name: str,
        shape: list[int],
        datatype: Datatype,
        array: NDArray[Any],
        *,
        data: list[Any] | None = None,
        parameters: Parameters | None = None,
    ) -> None:
        """`data` is what the array was made of, if that was JSON; only the SDK's models ask for it."""
        self.name = name
        self.shape = shape
        self.datatype = datatype.name
        self.parameters = parameters
        self._array = array

    def as_numpy(self) -> NDArray[Any]:
        """In the tensor's shape."""
        return self._array


class RequestedOutput:
    """One output that a request names."""

    __slots__ = ("name", "parameters")

    def __init__(self, name: str, parameters: Parameters | None = None) -> None:
        self.name = name
        self.parameters = parameters

    @property
    def binary_data(self) -> bool | None:
        """Whether it is wanted in bytes; None leaves that to the request."""
        return self.parameters.get("binary_data") if self.parameters else None


class InferRequest:
    """What one model is asked."""

    __slots__ = ("_raw", "from_grpc", "id", "inputs", "model_name", "model_version", "parameters", "request_outputs")

    def __init__(
        self,
        model_name: str,
        inputs: list[Tensor],
        request_id: str | None = None,
        parameters: Parameters | None = None,
        request_outputs: list[RequestedOutput] | None = None,
        model_version: str | None = None,
        *,
        from_grpc: bool = False,
        raw: bool = False,
    ) -> None:
        """`raw` says that gRPC's inputs came as raw contents; the outputs then go the same way."""
        self.model_name = model_name
        self.inputs = inputs
        self.id = request_id
        self.parameters = parameters
        self.request_outputs = request_outputs
        self.model_version = model_version
        self.from_grpc = from_grpc
        self._raw = raw

    @property
    def use_binary_outputs(self) -> bool:
        """Whether outputs go in bytes, save for those of which the request says otherwise."""
        if self.from_grpc:
            return self._raw
        return bool(self.parameters and self.parameters.get("binary_data_output"))


class InferOutput:
    """One named output."""

    __slots__ = ("data", "datatype", "name", "parameters", "shape")

    def __init__(
        self, name: str, shape: Sequence[int], datatype: str, data: NDArray[Any], parameters: Parameters | None = None
    ) -> None:
        self.name = name
        self.shape = shape
        self.datatype = datatype
        self.data = data
        self.parameters = parameters

    def as_numpy(self) -> NDArray[Any]:
        """In the output's shape."""
        return self.data


class InferResponse(ABC):  # noqa: B024 - for its `register`
    """What a model answers. The SDK's class is registered as a subclass when `sdk.py` is imported."""

    __slots__ = ("id", "model_name", "outputs", "parameters")

    def __init__(
        self,
        response_id: str | None,
        model_name: str,
        outputs: list[InferOutput],
        parameters: Parameters | None = None,
    ) -> None:
        self.id = response_id
        self.model_name = model_name
        self.outputs = outputs
        self.parameters = parameters


class Types(NamedTuple):
    """What requests to one kind of model are made of; called as the classes above."""

    request: Callable[..., InferRequest]
    tensor: Callable[..., Tensor]
    requested_output: Callable[..., RequestedOutput]


TYPES: Final = Types(InferRequest, Tensor, RequestedOutput)
"""Of every model but the SDK's."""
