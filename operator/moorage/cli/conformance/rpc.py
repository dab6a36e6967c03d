"""One gRPC call. Needs grpcio and protobuf, which the base install has not; without them the cases are skipped."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from moorage.cli.conformance.rendering import raw, shape
from moorage.cli.conformance.tensors import CONTENTS, TensorError, Value, element_bytes, flat, pack
from moorage.cli.conformance.vocabulary import Call, Infer, Tensor

_MESSAGES: Final[Mapping[str, tuple[str, str]]] = {
    "ServerLive": ("Empty", "ServerLiveResponse"),
    "ServerReady": ("Empty", "ServerReadyResponse"),
    "ServerMetadata": ("Empty", "ServerMetadataResponse"),
    "ModelReady": ("ModelRequest", "ModelReadyResponse"),
    "ModelMetadata": ("ModelRequest", "ModelMetadataResponse"),
    "ModelInfer": ("ModelInferRequest", "ModelInferResponse"),
    "ModelStatistics": ("ModelRequest", "ModelStatisticsResponse"),
    "ModelConfig": ("ModelRequest", "ModelConfigResponse"),
    "RepositoryIndex": ("RepositoryIndexRequest", "RepositoryIndexResponse"),
    "RepositoryModelLoad": ("RepositoryModelRequest", "RepositoryModelResponse"),
    "RepositoryModelUnload": ("RepositoryModelRequest", "RepositoryModelResponse"),
    "TraceSetting": ("TraceSettings", "TraceSettings"),
    "LogSettings": ("LogSettings", "LogSettings"),
}
_SERVICE: Final = "inference.GRPCInferenceService"
_NO_LIMIT: Final = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


@dataclass(frozen=True)
class RpcReply:
    """What came back: the status code's name, its details, and with OK the reply's fields."""

    code: str
    details: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code} {self.details[:200]}".strip()


def missing() -> str | None:
    """The package that lacks, or None."""
    for name in ("grpc", "google.protobuf"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            return "grpcio" if name == "grpc" else "protobuf"
    return None


class RpcEndpoint:
    """A gRPC server, by HOST:PORT."""

    def __init__(self, address: str) -> None:
        import grpc

        from moorage.api.oip import open_inference_pb2

        self._grpc, self._messages = grpc, open_inference_pb2
        self._channel = grpc.insecure_channel(address, options=_NO_LIMIT)

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def ask(self, call: Call, inputs: Sequence[Tensor], within_s: float) -> RpcReply:
        """The answer to one call."""
        of_request, of_reply = (
            getattr(self._messages, name) for name in _MESSAGES.get(call.method, ("Empty", "Empty"))
        )
        request = of_request()
        if call.infer is not None:
            self._fill(request, call, inputs)
        else:
            from google.protobuf import json_format

            json_format.ParseDict(call.message, request)
        invoke = self._channel.unary_unary(
            f"/{_SERVICE}/{call.method}",
            request_serializer=of_request.SerializeToString,
            response_deserializer=of_reply.FromString,
        )
        compression = self._grpc.Compression.Gzip if call.compress else self._grpc.Compression.NoCompression
        try:
            reply = invoke(request, timeout=within_s, wait_for_ready=False, compression=compression)
        except self._grpc.RpcError as error:
            return RpcReply(error.code().name, error.details() or "")
        return RpcReply("OK", "", _fields(reply))

    def _fill(self, request: Any, call: Call, inputs: Sequence[Tensor]) -> None:
        infer = call.infer or Infer()
        sent = inputs if infer.from_metadata else infer.inputs
        request.model_name, request.model_version = call.model, infer.model_version or ""
        request.id = infer.id or ""
        _parameters(request.parameters, infer.parameters)
        if call.pad_to is not None:
            sent = [Tensor(name="padding", datatype="UINT8", shape=[call.pad_to], hex="00" * call.pad_to, binary=True)]
        if call.copies is not None:
            sent = [each.model_copy(update={"name": f"{each.name}{n}"}) for n in range(call.copies) for each in sent]
        for each in sent:
            tensor = request.inputs.add(name=each.name, datatype=each.datatype, shape=shape(each))
            _parameters(tensor.parameters, each.parameters)
            if each.binary:
                request.raw_input_contents.append(raw(each))
            elif "data" not in each.without:
                _contents(tensor.contents, each)
        for output in infer.outputs or ():
            _parameters(request.outputs.add(name=output.name).parameters, output.parameters)
        if call.raw_contents is not None:
            del request.raw_input_contents[:]
            request.raw_input_contents.extend(bytes.fromhex(text) for text in call.raw_contents)


def _contents(contents: Any, tensor: Tensor) -> None:
    elements = flat(tensor.data)
    if tensor.datatype == "BYTES":
        elements = [element_bytes(element) for element in elements]
    getattr(contents, CONTENTS.get(tensor.datatype, "fp32_contents")).extend(elements)
    contents.SetInParent()


def _parameters(into: Any, written: Any) -> None:
    for key, value in (written or {}).items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(into[key], kind, value)


def _fields(message: Any) -> dict[str, Any]:
    """A message as plain values under its fields' own names, unset ones with their defaults."""
    found: dict[str, Any] = {}
    for descriptor in message.DESCRIPTOR.fields:
        value = getattr(message, descriptor.name)
        if descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
            found[descriptor.name] = {key: _plain(item) for key, item in value.items()}
        elif descriptor.is_repeated:
            found[descriptor.name] = [_plain(item) for item in value]
        elif descriptor.message_type is not None and not message.HasField(descriptor.name):
            found[descriptor.name] = None
        else:
            found[descriptor.name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    return _fields(value) if hasattr(value, "DESCRIPTOR") else value


def outputs(reply: RpcReply) -> list[Value]:
    """The tensors of an answer to ModelInfer, from the raw contents where there are any.

    Raises:
        TensorError: they do not fit the outputs.
    """
    listed, raws = reply.fields["outputs"], reply.fields["raw_output_contents"]
    if raws and len(raws) != len(listed):
        raise TensorError(f"{len(raws)} raw contents for {len(listed)} outputs")
    found = []
    for index, output in enumerate(listed):
        name, datatype = output["name"], output["datatype"]
        if not raws and datatype not in CONTENTS:
            raise TensorError(f"output {name}: {datatype} without raw contents")
        data = raws[index] if raws else pack(datatype, (output["contents"] or {}).get(CONTENTS[datatype], []))
        found.append(Value(name, datatype, tuple(output["shape"]), data, bool(raws)))
    return found
