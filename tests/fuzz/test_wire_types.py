"""Whatever comes in is a request or one of our errors; whatever goes out comes back to its last bit. hypothesis."""

import contextlib
import json

import httpx
import numpy as np
import psutil
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from kserve import InferOutput, InferRequest, InferResponse
from tests.fuzz.budget import fuzz
from tests.fuzz.strategies import JSON, Named, binary_body, changed, several

from moorage.api.limits import RequestLimits
from moorage.api.oip import open_inference_pb2 as pb
from moorage_predictor.errors import RequestError
from moorage_predictor.wire import decode, encode, grpc_messages
from moorage_predictor.wire.datatypes import DATATYPES

LIMITS = RequestLimits()
TYPED = tuple(name for name, row in DATATYPES.items() if row.contents)


def same(found, expected):
    """To the last bit, by name."""
    assert [tensor.name for tensor in found] == [tensor.name for tensor in expected]
    for one, other in zip(found, expected, strict=True):
        array = one.as_numpy()
        assert (one.datatype, tuple(one.shape), array.shape) == (other.datatype, other.array.shape, other.array.shape)
        if other.datatype == "BYTES":
            items = [item.encode() if isinstance(item, str) else item for item in array.ravel()]
            assert items == list(other.array.ravel())
        else:
            assert array.tobytes() == other.array.tobytes()


def echoed(request: InferRequest) -> InferResponse:
    outputs = [InferOutput(one.name, list(one.shape), one.datatype, one.as_numpy()) for one in request.inputs]
    return InferResponse(request.id, "m", outputs)


def as_request(parts, json_length):
    """An answer's bytes, read as a request: the two have the same form."""
    body = b"".join(map(bytes, parts))
    head = json.loads(body[:json_length])
    head["inputs"] = head.pop("outputs")
    again = json.dumps(head).encode()
    rest = b"" if json_length is None else body[json_length:]
    return decode.infer_request(again + rest, str(len(again)), "m", "1", LIMITS)


def test_tensors_come_back_over_rest_in_any_mix_of_json_and_binary():
    @given(st.data(), several(), several(text=True))
    def round_trip(data, any_tensors, text_tensors):
        # What JSON cannot carry goes in binary, the rest either way.
        names = {tensor.name for tensor in any_tensors}
        chosen = any_tensors + [tensor for tensor in text_tensors if tensor.name not in names]
        binary = [True] * len(any_tensors) + [data.draw(st.booleans()) for _ in chosen[len(any_tensors) :]]
        body, end = binary_body(chosen, binary, id="7")
        request = decode.infer_request(body, str(end), "m", "1", LIMITS)
        same(request.inputs, chosen)
        out = [True] * len(any_tensors) + [data.draw(st.booleans()) for _ in chosen[len(any_tensors) :]]
        request.request_outputs = [
            decode.RequestedOutput(tensor.name, {"binary_data": wanted})
            for tensor, wanted in zip(chosen, out, strict=True)
        ]
        same(as_request(*encode.infer_response(request, echoed(request), "1", lambda name: None)).inputs, chosen)

    fuzz(round_trip, 0.25)


def grpc_message(tensors: list[Named], *, raw: bool) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="m")
    for tensor in tensors:
        item = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
        if raw:
            message.raw_input_contents.append(tensor.raw())
        else:
            getattr(item.contents, DATATYPES[tensor.datatype].contents).extend(tensor.array.ravel().tolist())
    return message


def test_tensors_come_back_over_grpc_raw_and_typed():
    def check(tensors, *, raw):
        wire = grpc_message(tensors, raw=raw).SerializeToString()
        request = grpc_messages.infer_request(pb.ModelInferRequest.FromString(wire), "1", LIMITS)
        same(request.inputs, tensors)
        answer = grpc_messages.infer_response(request, echoed(request), "1", lambda name: None)
        again = pb.ModelInferRequest(
            inputs=pb.ModelInferResponse.FromString(answer.SerializeToString()).outputs,
            raw_input_contents=answer.raw_output_contents,
        )
        same(grpc_messages.infer_request(again, "1", LIMITS).inputs, tensors)

    @given(several())
    def raw(tensors):
        check(tensors, raw=True)

    @given(several(datatypes=TYPED).filter(_no_nan))
    def typed(tensors):
        check(tensors, raw=False)

    fuzz(raw, 0.1)
    fuzz(typed, 0.1)


def _no_nan(tensors: list[Named]) -> bool:
    """The bits of a NaN may change on the way through Python's own floats."""
    return not any(tensor.array.dtype.kind == "f" and np.isnan(tensor.array).any() for tensor in tensors)


def test_no_json_gets_anything_but_a_request_or_our_error():
    @given(JSON, JSON, JSON)
    def check(item, outputs, parameters):
        whole = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
        item = {**whole, **item} if isinstance(item, dict) else item
        document = {"inputs": [item], "outputs": outputs, "parameters": parameters}
        for body in (document, item):
            with contextlib.suppress(RequestError):
                request = decode.infer_request(json.dumps(body).encode(), None, "m", "1", LIMITS)
                encode.infer_response(request, echoed(request), "1", lambda name: None)

    fuzz(check, 0.15)


def test_no_bytes_get_anything_but_a_request_or_our_error():
    @given(st.data(), several(), st.none() | st.integers(-5, 500).map(str) | st.text(max_size=5))
    def check(data, tensors, length):
        body, end = binary_body(tensors, [True] * len(tensors))
        body = data.draw(changed(body))
        message = data.draw(changed(grpc_message(tensors, raw=True).SerializeToString()))
        for stated in (length, str(end)):
            with contextlib.suppress(RequestError):
                decode.infer_request(body, stated, "m", "1", LIMITS)
        with contextlib.suppress(RequestError, DecodeError):
            request = grpc_messages.infer_request(pb.ModelInferRequest.FromString(message), "1", LIMITS)
            grpc_messages.infer_response(request, echoed(request), "1", lambda name: None)

    fuzz(check, 0.15)


def test_changed_requests_never_get_a_500_from_a_server(fuzzed):
    process = psutil.Process(fuzzed.process.pid)
    assert fuzzed.post("/v2/repository/models/identity/load").status_code == 200  # another fuzzer may have unloaded it
    with httpx.Client(base_url=fuzzed.url, timeout=60) as client:

        @given(st.data(), several(), st.booleans())
        def check(data, tensors, intact):
            body, end = binary_body(tensors, [True] * len(tensors), parameters={"binary_data_output": True})
            sent = body if intact else data.draw(changed(body))
            headers = {"Inference-Header-Content-Length": str(end)}
            answer = client.post("/v2/models/identity/infer", content=sent, headers=headers)
            assert answer.status_code == 200 if intact else answer.status_code in (200, 400), answer.text

        sizes = []
        fuzz(check, 0.25, lambda: sizes.append(process.memory_info().rss))
    assert fuzzed.process.poll() is None
    assert process.memory_info().rss < sizes[0] * 1.1
