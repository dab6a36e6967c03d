"""gRPC's messages: the same checks as over REST, typed and raw."""

import struct

import numpy as np
import pytest
from kserve import InferOutput, InferResponse

from moorage.api.limits import RequestLimits
from moorage.api.oip import open_inference_pb2 as pb
from moorage_predictor.errors import InvalidInput
from moorage_predictor.wire import sdk
from moorage_predictor.wire.datatypes import DATATYPES
from moorage_predictor.wire.grpc_messages import infer_request, infer_response

LIMITS = RequestLimits()
VALUES = {
    "BOOL": [False, True],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-32768, 32767],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [-65504.0, 0.5],
    "FP32": [float("-inf"), 1e-45],
    "FP64": [-1.7976931348623157e308, 5e-324],
    "BYTES": [b"", b"\xff\x00"],
}
TYPED = [name for name, row in DATATYPES.items() if row.contents]


def array_of(datatype):
    return np.array(VALUES[datatype], DATATYPES[datatype].dtype)


def raw_of(datatype):
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(item)) + item for item in VALUES[datatype])
    return array_of(datatype).tobytes()


def message(raw=(), outputs=(), **changes):
    item = {"name": "x", "datatype": "FP32", "shape": [2], **changes}
    return pb.ModelInferRequest(model_name="cats", id="7", inputs=[item], raw_input_contents=raw, outputs=outputs)


def typed(datatype, values=None, **changes):
    contents = {DATATYPES[datatype].contents: VALUES[datatype] if values is None else values}
    return message(datatype=datatype, contents=contents, **changes)


def taken(made, limits=LIMITS):
    return infer_request(made, "1", limits)


def refused(made, limits=LIMITS):
    with pytest.raises(InvalidInput) as caught:
        taken(made, limits)
    return str(caught.value)


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_data_is_taken_to_its_last_bit(datatype):
    request = taken(typed(datatype))
    array = request.inputs[0].as_numpy()
    assert (array.dtype, array.tolist()) == (DATATYPES[datatype].dtype, array_of(datatype).tolist())
    assert (request.id, request.from_grpc, bool(request.use_binary_outputs)) == ("7", True, False)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_raw_data_is_taken_to_its_last_bit(datatype):
    request = taken(message(raw=[raw_of(datatype)], datatype=datatype))
    array = request.inputs[0].as_numpy()
    assert (array.dtype, array.tolist()) == (DATATYPES[datatype].dtype, array_of(datatype).tolist())
    assert bool(request.use_binary_outputs)


def test_an_input_may_be_empty_or_have_no_dimension():
    assert taken(message(shape=[0])).inputs[0].as_numpy().shape == (0,)
    assert taken(message(raw=[b""], shape=[0, 3])).inputs[0].as_numpy().shape == (0, 3)
    assert taken(typed("FP32", [1.5], shape=[])).inputs[0].as_numpy().shape == ()


def test_the_sdks_lists_of_bytes_hold_bytes_as_over_its_own_grpc():
    raw = message(raw=[raw_of("BYTES")], datatype="BYTES")
    for made in (typed("BYTES", [b"text", b"more"]), raw):
        assert {type(item) for item in infer_request(made, "1", LIMITS, sdk.TYPES).inputs[0].data} == {bytes}


def test_parameters_come_as_plain_values():
    made = message(raw=[b"\0" * 8], outputs=[{"name": "y", "parameters": {"classification": {"int64_param": 3}}}])
    made.parameters["a"].bool_param = True
    made.parameters["b"].uint64_param = 2**64 - 1
    made.inputs[0].parameters["c"].double_param = 0.5
    made.inputs[0].parameters["d"].string_param = "s"
    request = taken(made)
    assert request.parameters == {"a": True, "b": 2**64 - 1}
    assert request.inputs[0].parameters == {"c": 0.5, "d": "s"}
    assert request.request_outputs[0].parameters == {"classification": 3}


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (pb.ModelInferRequest(model_name="cats"), "inputs: expected at least one, found none"),
        (message(raw=[b"", b""]), "raw_input_contents: expected one for each of 1 inputs, found 2"),
        (message(name="", raw=[b""]), "inputs: name: expected 1 to 256 characters, found ''"),
        (message(datatype="FP8", raw=[b""]), "x: datatype: expected one of BOOL, UINT8"),
        (message(datatype="", raw=[b""]), "x: datatype: expected one of BOOL, UINT8"),
        (message(shape=[-1], raw=[b""]), "x: shape: expected integers from 0 on, found [-1]"),
        (message(shape=[1] * 33, raw=[b""]), "x: shape: expected a list of at most 32 integers"),
        (message(shape=[2**30, 2**30], raw=[b""]), "x: expected at most 16777216 elements in a request"),
        (message(raw=[b"\0" * 7]), "x: shape [2] of FP32 needs 8 bytes, found 7"),
        (message(raw=[b"\0" * 9]), "x: shape [2] of FP32 needs 8 bytes, found 9"),
        (message(raw=[b"\x02\x00"], datatype="BOOL"), "x: expected BOOL bytes of 0 or 1, found 2"),
        (message(raw=[b"\x01\0"], datatype="BYTES"), "x: the bytes end inside an element's length"),
        (message(raw=[b"\x09\0\0\0a"], datatype="BYTES"), "x: an element says 9 bytes, 1 are left"),
        (message(raw=[b"\0" * 8], contents={"fp32_contents": [1, 2]}), "x: expected either contents or raw_input_contents"),
        (message(), "x: contents: shape [2] needs 2 elements, found 0"),
        (typed("FP32", [1.0]), "x: contents: shape [2] needs 2 elements, found 1"),
        (typed("BYTES", [b""] * 3), "x: contents: shape [2] needs 2 elements, found 3"),
        (typed("INT8", [1, 300]), "x: contents: 300 is out of range for INT8"),
        (typed("UINT8", [1, 256]), "x: contents: 256 is out of range for UINT8"),
        (typed("INT16", [1, -32769]), "x: contents: -32769 is out of range for INT16"),
        (message(contents={"int_contents": [1, 2]}), "x: expected FP32 data in contents.fp32_contents, found int_contents"),
        (
            message(contents={"fp32_contents": [1, 2], "int_contents": [1]}),
            "x: expected FP32 data in contents.fp32_contents, found int_contents, fp32_contents",
        ),
        (
            message(datatype="FP16", contents={"fp32_contents": [1, 2]}),
            "x: expected FP16 data in raw_input_contents, found fp32_contents",
        ),
        (message(raw=[b"\0" * 8], outputs=[{"name": "y"}, {"name": "y"}]), "outputs: 'y' is there twice"),
        (message(raw=[b"\0" * 8], outputs=[{"name": str(n)} for n in range(65)]), "expected at most 64 inputs and as many"),
        (message(raw=[b"\0" * 8], parameters={"a": {}}), "parameters.a: expected a value, found none"),
    ],
)  # fmt: skip
def test_a_bad_message_is_told_the_input_and_the_reason(made, text):
    assert text in refused(made)


def test_a_name_may_not_be_there_twice():
    made = message(raw=[b"\0" * 8, b"\0" * 8])
    made.inputs.add().CopyFrom(made.inputs[0])
    assert refused(made) == "inputs: 'x' is there twice"


def test_elements_are_counted_over_all_inputs():
    made = message(raw=[b"\0" * 8, b"\0" * 8])
    made.inputs.add(name="y", datatype="FP32", shape=[2])
    assert len(taken(made).inputs) == 2
    assert "y: expected at most 3 elements" in refused(made, RequestLimits(max_elements=3))


def answered(datatype="FP32", *, raw=False, request=None, **response):
    array = array_of(datatype)
    made = InferResponse("own", "m", [InferOutput("y", list(array.shape), datatype, array)], **response)
    asked = request or message(raw=[b"\0" * 8] if raw else (), contents=None if raw else {"fp32_contents": [1, 2]})
    return infer_response(taken(asked), made, "1", lambda name: None)


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_inputs_get_a_typed_answer(datatype):
    answer = answered(datatype)
    (only,) = answer.outputs
    assert (only.name, only.datatype, list(only.shape)) == ("y", datatype, [2])
    assert list(getattr(only.contents, DATATYPES[datatype].contents)) == array_of(datatype).tolist()
    assert not answer.raw_output_contents


@pytest.mark.parametrize("datatype", DATATYPES)
def test_raw_inputs_get_a_raw_answer(datatype):
    answer = answered(datatype, raw=True)
    assert list(answer.raw_output_contents) == [raw_of(datatype)]
    assert not answer.outputs[0].HasField("contents")


def test_fp16_goes_out_raw_whatever_was_asked():
    assert list(answered("FP16").raw_output_contents) == [raw_of("FP16")]


def test_the_answer_has_the_requests_names_and_id():
    answer = answered(raw=True)
    assert (answer.model_name, answer.model_version, answer.id) == ("cats", "1", "7")


def test_classification_is_an_output_of_bytes():
    asked = message(raw=[b"\0" * 8], outputs=[{"name": "y", "parameters": {"classification": {"int64_param": 1}}}])
    answer = answered("FP64", request=asked)
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [1])
    assert answer.raw_output_contents[0][4:] == b"0.000000:1"


def test_an_output_that_is_not_there_cannot_be_asked_for():
    with pytest.raises(InvalidInput, match="outputs: expected some of y, found 'z'"):
        answered(request=message(raw=[b"\0" * 8], outputs=[{"name": "z"}]))
