"""A case's `request` or `infer` -> the bytes and the headers that go out, and the tensors that must come back."""

import gzip
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from moorage.cli.conformance.tensors import Value, flat, pack
from moorage.cli.conformance.vocabulary import Body, Infer, Repeated, Request, Tensor

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_BLOCK: Final = 1024 * 1024


@dataclass(frozen=True)
class Message:
    """An HTTP request, ready to be written."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    chunk_bytes: int | None = None


def message(request: Request, inputs: Sequence[Tensor]) -> Message:
    """The request in bytes; `inputs` are those of the model's metadata."""
    headers: dict[str, str] = {}
    body = b""
    if request.body is not None:
        body, headers = _body(request.body, inputs)
    if request.pad_to is not None:
        body = body.ljust(request.pad_to)
    if request.compress:
        body = _compressed(body, request.compress, request.inflate_to or 0)
        headers["Content-Encoding"] = request.compress
    if request.chunk_bytes is not None:
        headers["Transfer-Encoding"] = "chunked"
    elif request.body is not None or (request.method or "GET") not in ("GET", "HEAD"):
        headers["Content-Length"] = str(len(body))
    for name, value in request.headers.items():
        headers = {key: kept for key, kept in headers.items() if key.lower() != name.lower()}
        if value != "absent":
            headers[name] = value
    method = request.method or ("GET" if request.body is None else "POST")
    return Message(method, request.path, headers, body, request.chunk_bytes)


def _body(body: Body, inputs: Sequence[Tensor]) -> tuple[bytes, dict[str, str]]:
    as_json = {"Content-Type": "application/json"}
    as_bytes = {"Content-Type": "application/octet-stream"}
    if body.text is not None:
        return body.text.encode(), as_json
    if body.pieces is not None:
        return b"".join(piece.encode() if isinstance(piece, str) else repeated(piece) for piece in body.pieces), as_json
    if body.hex is not None:
        return bytes.fromhex(body.hex), as_bytes
    if body.raw_input:
        return raw(inputs[0]), {**as_bytes, HEADER_LENGTH: "0"}
    if body.infer is None:
        return json.dumps(body.json_).encode(), as_json
    head, tail = infer_document(body.infer, inputs)
    if not tail and body.infer.header_length is None and not any(each.binary for each in body.infer.inputs):
        return head, as_json
    length = len(head) if body.infer.header_length in (None, "json") else body.infer.header_length
    return head + tail, {**as_bytes, HEADER_LENGTH: str(length)}


def repeated(piece: Repeated) -> bytes:
    """The text so many times."""
    if "{n}" not in piece.repeat:
        return piece.between.join([piece.repeat] * piece.times).encode()
    return piece.between.join(piece.repeat.replace("{n}", str(number)) for number in range(piece.times)).encode()


def infer_document(infer: Infer, inputs: Sequence[Tensor]) -> tuple[bytes, bytes]:
    """The JSON and what follows it."""
    sent = inputs if infer.from_metadata else infer.inputs
    document: dict[str, Any] = {"inputs": [_input(each) for each in sent]}
    for key in ("id", "parameters"):
        if key in infer.model_fields_set:
            document[key] = getattr(infer, key)
    if infer.outputs is not None:
        document["outputs"] = [each.model_dump(exclude_unset=True) | {"name": each.name} for each in infer.outputs]
    tail = b"".join(raw(each) for each in sent if each.binary)
    return json.dumps(document).encode(), tail + bytes.fromhex(infer.trailing)


def _input(tensor: Tensor) -> dict[str, Any]:
    item = {"name": tensor.name, "shape": shape(tensor), "datatype": tensor.datatype}
    if tensor.binary:
        size = len(raw(tensor)) if tensor.size is None else tensor.size
        item["parameters"] = {**(tensor.parameters or {}), "binary_data_size": size}
    else:
        item["data"] = tensor.data
        if tensor.parameters is not None:
            item["parameters"] = tensor.parameters
    return {key: value for key, value in item.items() if key not in tensor.without}


def shape(tensor: Tensor) -> Any:
    """As written, or else that of a plain list."""
    return [len(flat(tensor.data))] if tensor.shape is None else tensor.shape


def raw(tensor: Tensor) -> bytes:
    """The tensor's bytes."""
    return bytes.fromhex(tensor.hex) if tensor.hex is not None else pack(tensor.datatype, tensor.data)


def value(tensor: Tensor) -> Value:
    """What must come back for a tensor that was sent."""
    return Value(tensor.name, tensor.datatype, tuple(shape(tensor)), raw(tensor), tensor.binary)


def zeros(named: Mapping[str, Any]) -> Tensor:
    """A tensor as the model's metadata describes it, -1 being 1."""
    sides = [1 if side == -1 else side for side in named["shape"]]
    empty: Any = {"BOOL": False, "BYTES": ""}.get(named["datatype"], 0)
    count = 1
    for side in sides:
        count *= side
    return Tensor(
        name=named["name"],
        datatype=named["datatype"],
        shape=sides,
        data=[empty] * count,
        binary=named["datatype"] == "FP16",  # JSON has no way to write it that all servers know
    )


def _compressed(body: bytes, encoding: str, size: int) -> bytes:
    """The body, behind so many spaces that it inflates to `size`; made of one block over and over, so that it is quick."""
    if size <= len(body):
        return gzip.compress(body, mtime=0) if encoding == "gzip" else zlib.compress(body)
    deflating = zlib.compressobj(9, wbits=-15)
    block = deflating.compress(b" " * _BLOCK) + deflating.flush(zlib.Z_FULL_FLUSH)
    blocks = size // _BLOCK
    last = zlib.compressobj(9, wbits=-15)
    ending = last.compress(body) + last.flush()
    total = blocks * _BLOCK + len(body)
    if encoding == "gzip":
        head, check = b"\x1f\x8b\x08\0\0\0\0\0\0\xff", zlib.crc32
    else:
        head, check = b"\x78\x9c", zlib.adler32
    number = 0 if encoding == "gzip" else 1
    for _ in range(blocks):
        number = check(b" " * _BLOCK, number)
    number = check(body, number)
    foot = struct.pack("<II", number, total & 0xFFFFFFFF) if encoding == "gzip" else struct.pack(">I", number)
    return head + block * blocks + ending + foot


def written(sent: Message, host: str) -> Iterator[bytes]:
    """What goes over the socket, head first, in handy pieces."""
    lines = [f"{sent.method} {sent.path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in sent.headers.items()]
    yield "\r\n".join([*lines, "", ""]).encode()
    if sent.chunk_bytes is None:
        for start in range(0, len(sent.body), 65536):
            yield sent.body[start : start + 65536]
        return
    waiting = bytearray()
    for start in range(0, len(sent.body), sent.chunk_bytes):
        chunk = sent.body[start : start + sent.chunk_bytes]
        waiting += b"%x\r\n%b\r\n" % (len(chunk), chunk)
        if len(waiting) > 65536:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting) + b"0\r\n\r\n"
