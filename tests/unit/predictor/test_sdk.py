"""What a `kserve.Model` is given: the SDK's own types, whose data is there already and was checked."""

import json

import numpy as np
import pytest
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput

from moorage.api.limits import RequestLimits
from moorage.api.oip import open_inference_pb2 as pb
from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire import encode, grpc_messages, messages
from moorage_predictor.wire.datatypes import BYTES, DATATYPES
from moorage_predictor.wire.decode import infer_request, raw_request
from moorage_predictor.wire.sdk import TYPES, SdkTensor

LIMITS = RequestLimits()
X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2], "parameters": {"unit": "cm"}}
BODY = json.dumps(
    {"id": "7", "inputs": [X], "parameters": {"a": 1}, "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
).encode()


def of(array, datatype="FP32", **more):
    return SdkTensor("x", list(array.shape), DATATYPES[datatype], array, **more)


def words(*items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return SdkTensor("x", [len(items)], BYTES, array)


def test_an_input_is_the_sdks_own():
    tensor = of(np.zeros((2, 3), "<f4"), parameters={"a": 1})
    assert isinstance(tensor, InferInput)
    assert (tensor.name, tensor.shape, tensor.datatype, tensor.parameters) == ("x", [2, 3], "FP32", {"a": 1})


def test_as_numpy_is_the_array_itself():
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    assert of(array).as_numpy() is array


def test_data_is_a_list_for_the_models_that_want_one():
    assert of(np.array([[1, 2], [3, 4]], "<f4")).data == [1, 2, 3, 4]
    assert words(b"abc", "text", b"\xff").data == ["abc", "text", b"\xff"]
    assert of(np.zeros(1, "<f4"), data=[[0.0]]).data == [[0.0]]


def test_what_a_model_puts_in_its_place_is_what_counts():
    tensor = of(np.zeros((2, 2), "<f4"))
    tensor.data = [1, 2, 3, 4]
    assert tensor.as_numpy().tolist() == [[1, 2], [3, 4]]
    tensor.data = np.ones(3)
    assert tensor.as_numpy().tolist() == [1, 1, 1]
    for binary in (False, True):
        tensor.set_data_from_numpy(np.full((2, 2), 7, "<f4"), binary_data=binary)
        assert tensor.as_numpy().tolist() == [[7, 7], [7, 7]]
        assert tensor.data == (None if binary else [7, 7, 7, 7])  # as the SDK has it


def test_text_comes_in_rows():
    assert words("a", b"b").as_string() == [["a"], ["b"]]
    two = SdkTensor("x", [1, 2], BYTES, words("a", "b").as_numpy().reshape(1, 2))
    assert two.as_string() == [["a", "b"]]
    assert words().as_string() == []


def test_what_is_no_text_is_refused():
    with pytest.raises(InvalidInput, match="x: expected datatype BYTES, found FP32"):
        of(np.zeros(1, "<f4")).as_string()
    with pytest.raises(InvalidInput, match="x: expected UTF-8 text"):
        words(b"\xff").as_string()


def test_a_request_is_the_sdks_own_whichever_way_it_came():
    item = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
    message = pb.ModelInferRequest(model_name="cats", inputs=[item], raw_input_contents=[bytes(8)])
    over_grpc = grpc_messages.infer_request(message, "1", LIMITS, TYPES)
    for request in (
        infer_request(BODY, None, "cats", "1", LIMITS, TYPES),
        raw_request(bytes(8), [X], "cats", "1", LIMITS, TYPES),
        over_grpc,
    ):
        assert type(request) is InferRequest
        assert (request.model_name, request.model_version) == ("cats", "1")
        assert all(isinstance(tensor, InferInput) for tensor in request.inputs)
        assert all(isinstance(output, RequestedOutput) for output in request.request_outputs or ())
    assert (over_grpc.from_grpc, over_grpc.use_binary_outputs) == (True, True)


def said(request):
    """All that a model may read in a request."""
    return (
        *(request.id, request.model_name, request.model_version, request.parameters, request.from_grpc),
        request.use_binary_outputs,
        [(one.name, one.shape, one.datatype, one.parameters, one.as_numpy().tolist()) for one in request.inputs],
        [(one.name, one.parameters, one.binary_data) for one in request.request_outputs],
    )


def test_other_models_read_the_same_under_the_same_names():
    theirs, ours = (infer_request(BODY, None, "cats", "1", LIMITS, types) for types in (TYPES, messages.TYPES))
    assert type(ours) is messages.InferRequest
    assert said(ours) == said(theirs)


def test_their_answers_become_the_same_bytes():
    array = np.array([[1.5, 2]], "<f4")
    bodies = []
    for types, output_type, response_type in (
        (TYPES, InferOutput, InferResponse),
        (messages.TYPES, messages.InferOutput, messages.InferResponse),
    ):
        request = infer_request(BODY, None, "cats", "1", LIMITS, types)
        answer = response_type("8", "own", [output_type("y", [1, 2], "FP32", array, {"unit": "cm"})])
        assert isinstance(answer, messages.InferResponse)
        parts, length = encode.infer_response(request, answer, "1", lambda name: None)
        bodies.append((list(map(bytes, parts)), length))
    assert bodies[0] == bodies[1]
