"""V2 REST bodies and tensors: what is accepted, and what each mistake is told."""

import base64
import contextlib
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage_predictor.errors import InvalidInput, PayloadTooLarge, RequestError
from moorage_predictor.tasks.image_classification import EncodedImages, PixelImages, PreparedImages
from moorage_predictor.wire import outputs, tensors, v1
from moorage_predictor.wire.requests import infer_request

B64 = base64.b64encode(b"file").decode()
LIMIT = 100


def tensor(**changes):
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": [B64], **changes}


def images(document, binary=b"", length=None):
    body = json.dumps(document).encode()
    stated = length or (str(len(body)) if binary else None)
    request = infer_request(body + binary, stated, "cats")
    return tensors.images_of(request.inputs, LIMIT)


def binary_tensor(size, **changes):
    item = tensor(parameters={"binary_data_size": size}, **changes)
    del item["data"]
    return {"inputs": [item]}


def test_base64_files_are_taken_from_json():
    assert images({"inputs": [tensor(shape=[2], data=[B64, B64])]}) == EncodedImages((b"file", b"file"))
    assert images({"inputs": [tensor(shape=[2, 1], data=[[B64], [B64]])]}) == EncodedImages((b"file", b"file"))


def test_raw_files_are_taken_from_the_binary_part():
    part = struct.pack("<I", 4) + b"\xff\xd8\xff\x00" + struct.pack("<I", 1) + b"x"
    assert images(binary_tensor(len(part), shape=[2]), part) == EncodedImages((b"\xff\xd8\xff\x00", b"x"))


def test_pixels_are_taken_from_json_flat_or_nested_and_from_binary():
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    for data in (pixels.ravel().tolist(), pixels.tolist()):
        taken = images({"inputs": [tensor(datatype="UINT8", shape=[1, 2, 2, 3], data=data)]})
        assert isinstance(taken, PixelImages)
        assert np.array_equal(taken.pixels, pixels)
    taken = images(binary_tensor(12, datatype="UINT8", shape=[1, 2, 2, 3]), pixels.tobytes())
    assert np.array_equal(taken.pixels, pixels)


def test_a_prepared_tensor_is_taken_from_json_and_from_binary():
    array = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 2, 2)
    taken = images({"inputs": [tensor(datatype="FP32", shape=[1, 3, 2, 2], data=array.ravel().tolist())]})
    assert isinstance(taken, PreparedImages)
    assert np.array_equal(taken.tensor, array)
    taken = images(binary_tensor(48, datatype="FP32", shape=[1, 3, 2, 2]), array.astype("<f4").tobytes())
    assert np.array_equal(taken.tensor, array)


FP32 = {"datatype": "FP32", "shape": [1, 3, 1, 1]}
UINT8 = {"datatype": "UINT8", "shape": [1, 1, 1, 3]}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"name": "img"}, "inputs: expected exactly one, named 'image', found ['img']"),
        ({"shape": [-1]}, "shape: expected positive integers"),
        ({"shape": [0]}, "shape: expected positive integers"),
        ({"shape": [True]}, "shape: expected positive integers"),
        ({"shape": [1.0]}, "shape: expected positive integers"),
        ({"shape": []}, "shape: expected a list"),
        ({"shape": None}, "shape: expected a list"),
        ({"shape": [65]}, "at most 64 images"),
        ({"shape": [2]}, "shape says 2 elements, data has 1"),
        ({"shape": [1, 2]}, "expected BYTES shape [n]"),
        ({"datatype": "INT64"}, "expected datatype BYTES, UINT8 or FP32, found 'INT64'"),
        ({"datatype": 7}, "datatype: expected a string, found a number"),
        ({"data": [7]}, "image 0: expected a base64 string, found int"),
        ({"data": ["*"]}, "image 0: not standard padded base64"),
        ({"data": ["Zg"]}, "image 0: not standard padded base64"),
        ({"data": ["-_-_"]}, "image 0: not standard padded base64"),
        ({"data": ["Zm\n8="]}, "image 0: not standard padded base64"),
        ({"data": ["data:image/png;base64,Zm8="]}, "a data: URI"),
        ({"data": {"a": 1}}, "data: expected a list"),
        ({"data": None}, "expected either data or parameters.binary_data_size"),
        ({"parameters": {"binary_data_size": 4}}, "expected either data or parameters.binary_data_size"),
        ({"parameters": 3}, "parameters: expected an object"),
        ({**FP32, "data": [1, 2]}, "shape [1, 3, 1, 1] needs 3 elements, data has shape [2]"),
        ({**FP32, "data": [[1, 2], [3]]}, "data: expected numbers in rows of equal length"),
        ({**FP32, "data": ["1", "2", "3"]}, "FP32 data: expected numbers"),
        ({**FP32, "data": [1, None, 3]}, "FP32 data: expected numbers"),
        ({**FP32, "data": [1, 1e39, 3]}, "NaN or infinity"),
        ({**FP32, "shape": [1, 1, 1, 3], "data": [1, 2, 3]}, "expected FP32 shape [n,3,height,width]"),
        ({**FP32, "shape": [1, 3, 2**40, 2**40], "data": [1]}, "needs"),
        ({**UINT8, "data": [1, 2, 300]}, "UINT8 data: expected integers from 0 to 255"),
        ({**UINT8, "data": [1, 2, -1]}, "UINT8 data: expected integers from 0 to 255"),
        ({**UINT8, "data": [1.5, 2, 3]}, "UINT8 data: expected integers from 0 to 255"),
        ({**UINT8, "data": [True, False, True]}, "UINT8 data: expected integers from 0 to 255"),
        ({**UINT8, "data": [1, 2, 2**80]}, "UINT8 data: expected integers from 0 to 255"),
        ({**UINT8, "shape": [1, 3, 1, 1], "data": [1, 2, 3]}, "expected UINT8 shape [n,height,width,3]"),
    ],
)
def test_a_bad_tensor_is_told_what_was_expected(item, reason):
    with pytest.raises(InvalidInput) as caught:
        images({"inputs": [tensor(**item)]})
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "the body: expected a JSON object, found an empty list"),
        ("text", "expected a JSON object, found a string"),
        ({}, "inputs: expected a list of objects, found nothing"),
        ({"inputs": []}, "inputs: expected a list of objects, found an empty list"),
        ({"inputs": {}}, "inputs: expected a list of objects, found an object"),
        ({"inputs": [1]}, "inputs: expected objects, found a number"),
        ({"inputs": [tensor(), tensor()]}, "expected exactly one"),
        ({"inputs": [tensor()] * 100}, "inputs: expected at most 64, found 100"),
        ({"inputs": [tensor()], "id": 7}, "id: expected a string"),
        ({"inputs": [tensor()], "parameters": []}, "parameters: expected an object"),
        ({"inputs": [tensor()], "parameters": {"binary_data_output": "yes"}}, "expected true or false"),
        ({"inputs": [tensor()], "outputs": [{}]}, "outputs: name: expected a string"),
    ],
)
def test_a_bad_document_is_told_what_was_expected(document, reason):
    with pytest.raises(InvalidInput) as caught:
        images(document)
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"inputs": [NaN]}', '{"inputs": 1e', "\xff", "[" * 5000])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(InvalidInput, match="not valid JSON"):
        infer_request(text.encode("latin-1"), None, "cats")


@pytest.mark.parametrize("length", ["-1", "1e3", "99999", "", "0x10", "\u0661"])
def test_a_bad_header_length_is_refused(length):
    with pytest.raises(InvalidInput, match=r"Inference-Header-Content-Length|not valid JSON"):
        infer_request(json.dumps({"inputs": [tensor()]}).encode(), length, "cats")


@pytest.mark.parametrize("size", [-1, 9, 2**62, True, "8", 1.5])
def test_a_bad_binary_size_is_refused(size):
    with pytest.raises(InvalidInput, match="binary_data_size: expected 0 to 8 bytes"):
        images(binary_tensor(size), b"\x04\0\0\0file")


@pytest.mark.parametrize("part", [b"\x04\0\0\0fi", b"\x04\0", b"\xff\xff\xff\xfffile", b"\x04\0\0\0file\x01"])
def test_binary_elements_must_add_up(part):
    with pytest.raises(InvalidInput, match="binary BYTES"):
        images(binary_tensor(len(part)), part)


def test_bytes_after_the_last_input_are_refused():
    with pytest.raises(InvalidInput, match="2 bytes follow the last input's data"):
        images(binary_tensor(8), b"\x04\0\0\0filexx")


def test_nan_in_binary_data_is_refused():
    part = np.array([1, np.nan, 2], "<f4").tobytes()
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        images(binary_tensor(12, **FP32), part)


def test_a_too_long_base64_string_is_refused_before_it_is_decoded():
    with pytest.raises(PayloadTooLarge, match="image 0: expected at most 100 bytes"):
        images({"inputs": [tensor(data=["A" * 400])]})


def test_outputs_default_and_can_be_chosen():
    def wanted(document):
        body = json.dumps({"inputs": [tensor()], **document}).encode()
        return [(output.name, output.binary_data) for output in outputs.wanted(infer_request(body, None, "cats"))]

    assert wanted({}) == [("class_id", False), ("confidence", False), ("class_name", False)]
    assert wanted({"outputs": [{"name": "logits"}]}) == [("logits", False)]
    assert wanted({"outputs": [{"name": "logits"}], "parameters": {"binary_data_output": True}}) == [("logits", True)]
    named = [{"name": "logits", "parameters": {"binary_data": False}}, {"name": "class_id"}]
    assert wanted({"outputs": named, "parameters": {"binary_data_output": True}}) == [
        ("logits", False),
        ("class_id", True),
    ]
    with pytest.raises(InvalidInput, match="expected some of class_id, confidence, class_name, logits, found 'x'"):
        wanted({"outputs": [{"name": "x"}]})
    with pytest.raises(InvalidInput, match="named twice"):
        wanted({"outputs": [{"name": "logits"}, {"name": "logits"}]})


def test_v1_instances_are_taken():
    assert v1.images_of({"instances": [{"b64": B64}]}, LIMIT) == EncodedImages((b"file",))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"instances": None},
        {"instances": []},
        {"instances": {"b64": B64}},
        {"instances": [B64]},
        {"instances": [{"b64": 7}]},
        {"instances": [{"b64": B64, "more": 1}]},
        {"instances": [{"image": B64}]},
        {"instances": [{"b64": B64}] * 65},
        {"inputs": [{"b64": B64}]},
    ],
)
def test_other_v1_bodies_are_refused(body):
    with pytest.raises(InvalidInput, match="instances"):
        v1.images_of(body, LIMIT)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(B64),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["inputs", "name", "shape", "datatype", "data", "parameters", "outputs", "id", "x"]),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_no_json_gets_past_the_checks_with_anything_but_our_errors(document):
    body = json.dumps({"inputs": [document]}).encode()
    with contextlib.suppress(RequestError):
        request = infer_request(body, None, "cats")
        outputs.wanted(request)
        tensors.images_of(request.inputs, LIMIT)
