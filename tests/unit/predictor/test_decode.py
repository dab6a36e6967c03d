"""V2 REST bodies: what is accepted, and what each mistake is told. The body is the client's; nothing of it may be believed."""

import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.limits import RequestLimits
from moorage_predictor.errors import InvalidInput, RequestError
from moorage_predictor.wire.datatypes import DATATYPES
from moorage_predictor.wire.decode import infer_request, parse_object, raw_request

LIMITS = RequestLimits()
FP32 = {"datatype": "FP32", "shape": [3], "data": [1, 2, 3]}
VALUES = {  # two elements of each datatype: the smallest and the largest, or the like
    "BOOL": [False, True],
    "UINT8": [0, 255],
    "UINT16": [0, 65535],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-128, 127],
    "INT16": [-32768, 32767],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [-65504.0, 6e-8],
    "FP32": [-3.4028234663852886e38, 1e-45],
    "FP64": [-1.7976931348623157e308, 5e-324],
    "BYTES": ["", "Grüße"],
}


def tensor(**changes):
    return {"name": "x", **FP32, **changes}


def decoded(document, binary=b"", length=None, limits=LIMITS):
    """The `InferRequest` of a document and what follows it."""
    body = json.dumps(document).encode()
    stated = length or (str(len(body)) if binary else None)
    return infer_request(bytearray(body + binary), stated, "cats", "1", limits)


def array(document, binary=b""):
    (only,) = decoded(document, binary).inputs
    return only.as_numpy()


def in_binary(size, **changes):
    item = tensor(parameters={"binary_data_size": size}, **changes)
    del item["data"]
    return {"inputs": [item]}


def serialised(*elements):
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def refused(call):
    with pytest.raises(InvalidInput) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_each_datatype_is_taken_from_json_to_its_last_bit(datatype):
    values = VALUES[datatype]
    taken = array({"inputs": [tensor(datatype=datatype, shape=[2], data=values)]})
    assert taken.dtype == DATATYPES[datatype].dtype
    assert taken.tolist() == np.array(values, DATATYPES[datatype].dtype).tolist()


@pytest.mark.parametrize("datatype", DATATYPES)
def test_each_datatype_is_taken_from_binary_data(datatype):
    values = VALUES[datatype]
    if datatype == "BYTES":
        part, expected = serialised(b"", b"\xff\x00"), [b"", b"\xff\x00"]
    else:
        part = np.array(values, DATATYPES[datatype].dtype).tobytes()
        expected = np.array(values, DATATYPES[datatype].dtype).tolist()
    taken = array(in_binary(len(part), datatype=datatype, shape=[2]), part)
    assert taken.dtype == DATATYPES[datatype].dtype
    assert taken.tolist() == expected


def test_data_may_be_nested_as_in_the_shape_or_flat():
    numbers = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    for data in (numbers.tolist(), numbers.ravel().tolist()):
        assert np.array_equal(array({"inputs": [tensor(shape=[2, 3, 2], data=data)]}), numbers)
    words = [["a", "b"], ["c", "d"]]
    assert array({"inputs": [tensor(datatype="BYTES", shape=[2, 2], data=words)]}).tolist() == words


def test_a_tensor_may_have_no_dimension_and_no_element():
    assert array({"inputs": [tensor(shape=[], data=[7])]}).shape == ()
    assert array({"inputs": [tensor(shape=[0], data=[])]}).shape == (0,)
    assert array({"inputs": [tensor(shape=[2, 0, 3], data=[])]}).shape == (2, 0, 3)
    assert array(in_binary(0, shape=[0, 5])).shape == (0, 5)
    assert array(in_binary(0, shape=[0], datatype="BYTES")).shape == (0,)


def test_the_datatypes_name_may_be_in_small_letters():
    (only,) = decoded({"inputs": [tensor(datatype="fp32")]}).inputs
    assert only.datatype == "FP32"


def test_the_last_number_that_rounds_to_a_finite_one_is_taken():
    assert array({"inputs": [tensor(datatype="FP16", data=[65519.9, -65519.9, 0])]}).tolist() == [65504, -65504, 0]
    message = refused(lambda: decoded({"inputs": [tensor(datatype="FP16", data=[0, 65520, 0])]}))
    assert message == "x: data: 65520 is out of range for FP16"


def test_binary_tensors_are_views_of_the_body_and_may_be_written_to():
    head = json.dumps({"inputs": [{**in_binary(12)["inputs"][0]}]}).encode()
    body = bytearray(head + np.arange(3, dtype="<f4").tobytes())
    (only,) = infer_request(body, str(len(head)), "cats", "1", LIMITS).inputs
    assert np.shares_memory(only.as_numpy(), np.frombuffer(body, np.uint8))
    only.as_numpy()[:] = 0


def test_several_inputs_take_their_binary_parts_in_order_and_json_between_them():
    items = [
        {"name": "a", "datatype": "INT32", "shape": [2], "parameters": {"binary_data_size": 8}},
        {"name": "b", "datatype": "INT8", "shape": [1], "data": [5]},
        {"name": "c", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 7}},
    ]
    part = np.array([1, 2], "<i4").tobytes() + serialised(b"abc")
    request = decoded({"inputs": items}, part)
    assert [item.as_numpy().tolist() for item in request.inputs] == [[1, 2], [5], [b"abc"]]


def test_id_parameters_and_outputs_are_handed_on():
    request = decoded(
        {
            "id": "7",
            "parameters": {"temperature": 0.5, "binary_data_output": True},
            "inputs": [tensor(parameters={"colour": "red", "n": 3, "deep": False})],
            "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
        }
    )
    assert (request.id, request.model_name, request.model_version) == ("7", "cats", "1")
    assert request.parameters["temperature"] == 0.5
    assert request.inputs[0].parameters == {"colour": "red", "n": 3, "deep": False}
    assert [(output.name, output.binary_data) for output in request.request_outputs] == [("y", False)]
    assert request.use_binary_outputs is True


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"name": ""}, "inputs: name: expected a string of 1 to 256 characters, found ''"),
        ({"name": 7}, "inputs: name: expected a string of 1 to 256 characters, found 7"),
        ({"name": None}, "inputs: name: expected a string of 1 to 256 characters, found None"),
        ({"name": "x" * 257}, "inputs: name: expected a string of 1 to 256 characters, found 'xxxxxxxx'"),
        ({"shape": [-1]}, "x: shape: expected integers from 0 on, found [-1]"),
        ({"shape": [True]}, "x: shape: expected integers from 0 on, found [True]"),
        ({"shape": [3.0]}, "x: shape: expected integers from 0 on, found [3.0]"),
        ({"shape": ["3"]}, "x: shape: expected integers from 0 on, found ['3']"),
        ({"shape": [None]}, "x: shape: expected integers from 0 on, found [None]"),
        ({"shape": [2**62]}, "x: shape: expected integers from 0 on, found [4611686018427387904]"),
        ({"shape": None}, "x: shape: expected a list of at most 32 integers, found None"),
        ({"shape": 3}, "x: shape: expected a list of at most 32 integers, found 3"),
        ({"shape": {"0": 3}}, "x: shape: expected a list of at most 32 integers, found {'0': 3}"),
        ({"shape": [1] * 33}, "x: shape: expected a list of at most 32 integers, found [1, 1,"),
        (
            {"datatype": "FP64", "shape": [2**61, 0], "data": []},
            "x: shape: expected fewer elements than [2305843009213693952, 0]",
        ),
        ({"shape": [4]}, "x: data: shape [4] needs 4 elements, found 3"),
        ({"shape": []}, "x: data: shape [] needs 1 elements, found 3"),
        ({"shape": [2**30, 2**30]}, "x: expected at most 16777216 elements in a request, found 1152921504606846976"),
        ({"datatype": "FP8"}, "x: datatype: expected one of BOOL, UINT8, UINT16, "),
        ({"datatype": "NONSENSE"}, "found 'NONSENSE'"),
        ({"datatype": 7}, "found 7"),
        ({"datatype": None}, "found None"),
        ({"datatype": ["FP32"]}, "found ['FP32']"),
        ({"data": "text"}, "x: data: expected a list, found a string"),
        ({"data": {"a": 1}}, "x: data: expected a list, found an object"),
        ({"data": 1.5}, "x: data: expected a list, found a number"),
        ({"data": True}, "x: data: expected a list, found a boolean"),
        ({"data": None}, "x: expected either data or parameters.binary_data_size"),
        ({"parameters": {"binary_data_size": 12}}, "x: expected either data or parameters.binary_data_size"),
        ({"parameters": 3}, "x: parameters: expected an object, found a number"),
        ({"parameters": {"a": [1]}}, "x: parameters.a: expected a string, a number or a boolean, found a list"),
        ({"parameters": {"a": None}}, "x: parameters.a: expected a string, a number or a boolean, found nothing"),
        ({"parameters": {"binary_data": 1}}, "x: parameters.binary_data: expected true or false, found a number"),
        ({"data": ["1", "2", "3"]}, "x: data: expected numbers, found a string '1'"),
        ({"data": [1, None, 3]}, "x: data: expected numbers, found nothing None"),
        ({"data": [1, True, 3]}, "x: data: expected numbers, found a boolean True"),
        ({"data": [1, [2], 3]}, "x: data: expected numbers, found a list [2]"),
        ({"data": [[1], [2], [3]]}, "x: data: expected numbers, found a list [1]"),
        ({"data": [1, 1e39, 3]}, "x: data: 1e+39 is out of range for FP32"),
        ({"data": [1, 10**300, 3]}, "x: data: 1e+300 is out of range for FP32"),
        ({"shape": [2, 2], "data": [[1, 2], [3]]}, "x: data: expected rows of 2 as in shape [2, 2], found another"),
        ({"shape": [2, 2], "data": [[1, 2]]}, "x: data: shape [2, 2] needs 2 rows, found 1"),
        ({"shape": [2, 2], "data": [[1, 2], 3]}, "x: data: expected lists nested as in shape [2, 2], found other"),
        ({"shape": [2, 1], "data": [[[1]], [[2]]]}, "x: data: expected numbers, found a list [1]"),
        ({"datatype": "INT8", "data": [1, 2, 300]}, "x: data: 300 is out of range for INT8"),
        ({"datatype": "INT8", "data": [1, 2, -129]}, "x: data: -129 is out of range for INT8"),
        ({"datatype": "UINT8", "data": [1, 2, -1]}, "x: data: -1 is out of range for UINT8"),
        ({"datatype": "UINT8", "data": [1.5, 2, 3]}, "x: data: expected integers, found a number 1.5"),
        ({"datatype": "UINT8", "data": [1.0, 2, 3]}, "x: data: expected integers, found a number 1.0"),
        ({"datatype": "UINT8", "data": [True, False, True]}, "x: data: expected integers, found a boolean True"),
        ({"datatype": "INT64", "data": [1, 2, 2**63]}, "x: data: 9223372036854775808 is out of range for INT64"),
        ({"datatype": "UINT64", "data": [1, 2, 2**80]}, "x: data: expected integers, found a number 1.2089258"),
        ({"datatype": "BOOL", "data": [0, 1, 1]}, "x: data: expected true or false, found a number 0"),
        ({"datatype": "BOOL", "data": ["true", True, True]}, "x: data: expected true or false, found a string 'true'"),
        ({"datatype": "BYTES", "data": [7, "a", "b"]}, "x: data: expected strings, found a number 7"),
        ({"datatype": "BYTES", "data": ["a", None, "b"]}, "x: data: expected strings, found nothing None"),
        ({"datatype": "BYTES", "data": ["a"]}, "x: data: shape [3] needs 3 elements, found 1"),
    ],
)  # fmt: skip
def test_a_bad_tensor_is_told_its_name_and_what_was_expected(item, message):
    assert message in refused(lambda: decoded({"inputs": [tensor(**item)]}))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the body: expected a JSON object, found an empty list"),
        ("text", "the body: expected a JSON object, found a string"),
        (None, "the body: expected a JSON object, found nothing"),
        (1, "the body: expected a JSON object, found a number"),
        ({}, "inputs: expected a list of objects, found nothing"),
        ({"inputs": []}, "inputs: expected a list of objects, found an empty list"),
        ({"inputs": {}}, "inputs: expected a list of objects, found an object"),
        ({"inputs": "x"}, "inputs: expected a list of objects, found a string"),
        ({"inputs": [1]}, "inputs: expected objects, found a number"),
        ({"inputs": [None]}, "inputs: expected objects, found nothing"),
        ({"inputs": [tensor(), tensor()]}, "inputs: 'x' is there twice"),
        ({"inputs": [tensor()] * 65}, "inputs: expected at most 64, found 65"),
        ({"inputs": [tensor()], "id": 7}, "id: expected a string, found a number"),
        ({"inputs": [tensor()], "id": ["7"]}, "id: expected a string, found a list"),
        ({"inputs": [tensor()], "parameters": []}, "parameters: expected an object, found an empty list"),
        (
            {"inputs": [tensor()], "parameters": {"binary_data_output": "yes"}},
            "parameters.binary_data_output: expected true or false, found a string",
        ),
        ({"inputs": [tensor()], "outputs": {}}, "outputs: expected a list of objects, found an object"),
        ({"inputs": [tensor()], "outputs": [{}]}, "outputs: expected objects with a name"),
        ({"inputs": [tensor()], "outputs": ["y"]}, "outputs: expected objects with a name"),
        ({"inputs": [tensor()], "outputs": [{"name": ""}]}, "outputs: expected objects with a name"),
        ({"inputs": [tensor()], "outputs": [{"name": "y"}] * 2}, "outputs: 'y' is there twice"),
        ({"inputs": [tensor()], "outputs": [{"name": "y"}] * 65}, "outputs: expected at most 64, found 65"),
        (
            {"inputs": [tensor()], "outputs": [{"name": "y", "parameters": 1}]},
            "outputs: 'y': parameters: expected an object, found a number",
        ),
        (
            {"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"binary_data": 0}}]},
            "outputs: 'y': parameters.binary_data: expected true or false, found a number",
        ),
    ],
)
def test_a_bad_document_is_told_what_was_expected(document, message):
    assert message in refused(lambda: decoded(document))


def test_an_empty_list_of_outputs_asks_for_all():
    assert decoded({"inputs": [tensor()], "outputs": []}).request_outputs is None


@pytest.mark.parametrize(
    "text",
    [
        "", "{", '{"inputs": [NaN]}', '{"inputs": [Infinity]}', '{"inputs": 1e', "\xff", "[" * 5000, "{'a': 1}", "{} {}",
        '{"inputs": [1e400]}', '{"a": 1,}', "\ufeff{}", '{"a": "\ud800"}', '{"a": 01}',
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_what_is_not_json_is_refused(text):
    body = text.encode("utf-8", "surrogatepass") if not text.startswith("\xff") else b"\xff"
    assert "the body: not valid JSON: " in refused(lambda: infer_request(body, None, "cats", "1", LIMITS))


@pytest.mark.parametrize("length", ["-1", "1e3", "99999", "", "0x10", "\u0661", "+5", " 5", "5 ", "9" * 30])
def test_a_bad_header_length_is_refused(length):
    body = json.dumps({"inputs": [tensor()]}).encode()
    message = refused(lambda: infer_request(body, length, "cats", "1", LIMITS))
    assert message.startswith("Inference-Header-Content-Length: ")


def test_a_header_length_within_the_json_leaves_no_json():
    body = json.dumps({"inputs": [tensor()]}).encode()
    assert "not valid JSON" in refused(lambda: infer_request(body, "20", "cats", "1", LIMITS))


@pytest.mark.parametrize("size", [-1, 13, 2**62, True, "12", 1.5])
def test_a_bad_binary_size_is_refused(size):
    message = refused(lambda: decoded(in_binary(size), b"\0" * 12))
    assert message.startswith("x: binary_data_size: expected 0 to 12 bytes, found ")


@pytest.mark.parametrize(
    ("changes", "part", "message"),
    [
        ({}, b"\0" * 8, "x: shape [3] of FP32 needs 12 bytes, found 8"),
        ({}, b"\0" * 16, "x: shape [3] of FP32 needs 12 bytes, found 16"),
        ({"datatype": "BOOL"}, b"\x00\x01\x02", "x: expected BOOL bytes of 0 or 1, found 2"),
        ({"datatype": "BYTES", "shape": [1]}, b"\x04\0\0\0fi", "x: an element says 4 bytes, 2 are left"),
        ({"datatype": "BYTES", "shape": [1]}, b"\x04\0", "x: the bytes end inside an element's length"),
        ({"datatype": "BYTES", "shape": [1]}, b"\xff\xff\xff\xfffile", "x: an element says 4294967295 bytes"),
        ({"datatype": "BYTES", "shape": [1]}, serialised(b"a", b"b"), "x: shape [1] needs 1 elements, the bytes hold more"),
        ({"datatype": "BYTES", "shape": [3]}, serialised(b"a"), "x: shape [3] needs 3 elements, the bytes hold 1"),
        ({"datatype": "BYTES", "shape": [0]}, serialised(b"a"), "x: shape [0] needs 0 elements, the bytes hold more"),
    ],
)  # fmt: skip
def test_binary_data_must_fit_the_shape(changes, part, message):
    assert message in refused(lambda: decoded(in_binary(len(part), **changes), part))


def test_bytes_after_the_last_input_are_refused():
    assert refused(lambda: decoded(in_binary(12), b"\0" * 14)) == "the body: 2 bytes follow the last input's data"
    assert refused(lambda: decoded({"inputs": [tensor()]}, b"x")) == "the body: 1 bytes follow the last input's data"


def test_nan_and_infinity_come_only_in_binary():
    odd = np.array([np.nan, np.inf, -np.inf], "<f4")
    assert np.array_equal(array(in_binary(12), odd.tobytes()), odd, equal_nan=True)


@pytest.mark.parametrize(
    ("limits", "document", "message"),
    [
        (
            {"max_json_keys": 16},
            {"inputs": [tensor()], "x": {str(n): n for n in range(17)}},
            "the body: expected JSON with at most 16 keys",
        ),
        (
            {"max_json_values": 16},
            {"inputs": [tensor(shape=[20], data=list(range(20)))]},
            "the body: expected JSON with at most 16 values",
        ),
        (
            {"max_json_depth": 4},
            {"inputs": [tensor()], "x": {"y": {"z": {"a": {}}}}},
            "the body: expected JSON nested at most 4 deep",
        ),
        (
            {"max_json_keys": 500},
            {"inputs": [tensor()], "x": {str(n): n for n in range(501)}},
            "the body: expected JSON with at most 500 keys",
        ),
        ({"max_tensors": 1}, {"inputs": [tensor(), tensor(name="y")]}, "inputs: expected at most 1, found 2"),
        (
            {"max_elements": 5},
            {"inputs": [tensor(), tensor(name="y")]},
            "y: expected at most 5 elements in a request, found 3 more",
        ),
    ],
    ids=["keys", "values", "depth", "many keys", "tensors", "elements"],
)
def test_the_limits_are_kept(limits, document, message):
    assert refused(lambda: decoded(document, limits=RequestLimits(**limits))) == message


def test_the_number_of_binary_elements_is_limited_before_they_are_counted_out():
    document = in_binary(4, datatype="BYTES", shape=[2**23])
    assert refused(lambda: decoded(document, b"\0" * 4)) == "x: expected at most 4194304 BYTES elements, found 8388608"


def test_the_allowed_depth_itself_passes():
    assert parse_object(b'{"a": ' + b"[" * 99 + b"]" * 99 + b"}", LIMITS)
    message = refused(lambda: parse_object(b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", LIMITS))
    assert message == "the body: expected JSON nested at most 100 deep"


def test_brackets_and_colons_in_strings_are_no_depth():
    assert parse_object(json.dumps({"a": "[" * 1000, "b": "{" * 1000}).encode(), LIMITS)


def test_a_message_is_short_and_one_line_whatever_the_client_sends():
    for item in ({"datatype": "x\n" * 10_000}, {"shape": ["x" * 10_000]}, {"name": "x" * 10_000}):
        message = refused(lambda item=item: decoded({"inputs": [tensor(**item)]}))
        assert len(message) < 400
        assert "\n" not in message


ONE_VECTOR = [{"name": "v", "datatype": "FP32", "shape": [-1, 2]}]


def test_a_raw_body_is_the_only_inputs_data():
    body = np.arange(6, dtype="<f4").tobytes()
    (only,) = raw_request(body, ONE_VECTOR, "cats", "1", LIMITS).inputs
    assert (only.name, only.shape) == ("v", [3, 2])
    assert only.as_numpy().tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_raw_body_of_a_bytes_input_is_its_one_element():
    types = [{"name": "v", "datatype": "FP32", "shape": [-1]}, {"name": "v", "datatype": "BYTES", "shape": [-1, 1]}]
    (only,) = raw_request(b"\x89PNG", types, "cats", "1", LIMITS).inputs
    assert only.as_numpy().tolist() == [[b"\x89PNG"]]


@pytest.mark.parametrize(
    ("types", "body", "message"),
    [
        ([], b"", "the body: raw data needs a model that declares exactly one input, cats declares 0"),
        ([*ONE_VECTOR, {"name": "w", "datatype": "FP32", "shape": [1]}], b"", "cats declares 2"),
        (ONE_VECTOR, b"\0" * 9, "v: shape [-1, 2] needs a multiple of 8 bytes, found 9"),
        ([{"name": "v", "datatype": "FP32", "shape": [3]}], b"\0" * 24, "v: shape [3] needs 12 bytes, found 24"),
        ([{"name": "v", "datatype": "FP32", "shape": [3]}], b"", "v: shape [3] needs 12 bytes, found 0"),
        ([{"name": "v", "datatype": "FP32", "shape": [0]}], b"", "v: shape [0] needs a multiple of 0 bytes"),
    ],
)
def test_a_raw_body_that_does_not_fit_is_refused(types, body, message):
    assert message in refused(lambda: raw_request(body, types, "cats", "1", LIMITS))


WORDS = ["inputs", "name", "shape", "datatype", "data", "parameters", "outputs", "id", "binary_data_size", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*DATATYPES, "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner),
    max_leaves=20,
)


@given(JSON, JSON)
def test_no_json_gets_past_the_checks_with_anything_but_our_errors(item, outputs):
    document = {"inputs": [{**tensor(), **item} if isinstance(item, dict) else item], "outputs": outputs}
    with contextlib.suppress(RequestError):
        for one in decoded(document).inputs:
            assert one.as_numpy().shape == tuple(one.shape)
