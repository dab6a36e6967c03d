"""A model's answer as V2 REST bytes: JSON and binary in every mix, and what a model's own mistakes become."""

import json
import struct

import numpy as np
import pytest
from kserve import InferOutput, InferResponse

from moorage_predictor.errors import InvalidInput, ModelFault
from moorage_predictor.wire.datatypes import DATATYPES
from moorage_predictor.wire.encode import infer_response
from moorage_predictor.wire.messages import InferRequest, RequestedOutput

VALUES = {"BOOL": [True, False], "BYTES": ["a", "Grüße"], **{key: [0.5, -2.0] for key in ("FP16", "FP32", "FP64")}}


def array_of(datatype):
    return np.array(VALUES.get(datatype, [1, 2]), DATATYPES[datatype].dtype)


def output(name="y", array=None, **changes):
    array = np.array([1.0, 2.0], "<f4") if array is None else array
    given = {"shape": list(array.shape), "datatype": "FP32", "data": array, **changes}
    return InferOutput(name, given["shape"], given["datatype"], given["data"], given.get("parameters"))


def answer(*outputs, asked=None, parameters=None, request_id=None, **response):
    request = InferRequest("cats", [], request_id, parameters, asked)
    made = InferResponse(response.pop("id", None), "own", list(outputs), **response)
    return infer_response(request, made, "1", lambda name: None)


def parsed(parts, json_length):
    body = b"".join(bytes(part) for part in parts)
    return json.loads(body[:json_length]), b"" if json_length is None else body[json_length:]


def test_the_answer_names_the_model_by_its_name_here_and_the_request_by_its_id():
    document, _ = parsed(*answer(output(), request_id="7"))
    assert document == {
        "model_name": "cats",
        "model_version": "1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}],
        "id": "7",
    }
    assert parsed(*answer(output(), id="own"))[0]["id"] == "own"
    assert "id" not in parsed(*answer(output()))[0]


@pytest.mark.parametrize("datatype", DATATYPES)
def test_each_datatype_goes_out_in_json(datatype):
    array = array_of(datatype)
    (only,) = parsed(*answer(output(array=array, datatype=datatype)))[0]["outputs"]
    assert only == {"name": "y", "datatype": datatype, "shape": [2], "data": array.tolist()}


@pytest.mark.parametrize("datatype", DATATYPES)
def test_each_datatype_goes_out_in_binary(datatype):
    array = array_of(datatype)
    parts, length = answer(output(array=array, datatype=datatype), parameters={"binary_data_output": True})
    document, rest = parsed(parts, length)
    expected = (
        b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in array)
        if datatype == "BYTES"
        else array.tobytes()
    )
    assert rest == expected
    assert document["outputs"] == [
        {"name": "y", "datatype": datatype, "shape": [2], "parameters": {"binary_data_size": len(expected)}}
    ]


@pytest.mark.parametrize("whole", [None, False, True])
@pytest.mark.parametrize("own", [None, False, True])
def test_an_outputs_own_wish_beats_the_requests(whole, own):
    parameters = None if whole is None else {"binary_data_output": whole}
    asked = [RequestedOutput("y", None if own is None else {"binary_data": own})]
    _, length = answer(output(), asked=asked, parameters=parameters)
    assert (length is not None) == bool(whole if own is None else own)


def test_json_and_binary_outputs_mix_in_the_order_asked_for():
    asked = [
        RequestedOutput("c", {"binary_data": True}),
        RequestedOutput("a"),
        RequestedOutput("b", {"binary_data": True}),
    ]
    numbers = {name: np.full(1, index, "<f4") for index, name in enumerate("abc")}
    document, rest = parsed(*answer(*[output(name, array) for name, array in numbers.items()], asked=asked))
    assert [item["name"] for item in document["outputs"]] == ["c", "a", "b"]
    assert document["outputs"][1]["data"] == [0.0]
    assert rest == numbers["c"].tobytes() + numbers["b"].tobytes()


def test_an_output_that_is_not_there_cannot_be_asked_for():
    with pytest.raises(InvalidInput, match=r"^outputs: expected some of y, z, found 'x'$"):
        answer(output(), output("z"), asked=[RequestedOutput("x")])


@pytest.mark.parametrize("size", [1, 2, 33, 1000])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_carry_is_told_the_way_out(odd, size):
    array = np.zeros(size, "<f4")
    array[-1] = odd
    with pytest.raises(InvalidInput, match=r"output y: holds NaN or infinity.*ask for it with binary_data: true"):
        answer(output(array=array))
    _, rest = parsed(*answer(output(array=array), parameters={"binary_data_output": True}))
    assert rest == array.tobytes()


def test_bytes_that_are_no_text_are_told_the_way_out():
    array = np.array([b"ok", b"\xff"], object)
    with pytest.raises(InvalidInput, match=r"output y: holds bytes that are not UTF-8.*binary_data: true"):
        answer(output(array=array, datatype="BYTES"))
    _, rest = parsed(*answer(output(array=array, datatype="BYTES"), parameters={"binary_data_output": True}))
    assert rest == b"\x02\0\0\0ok\x01\0\0\0\xff"


def test_a_model_may_give_lists_strings_of_one_length_and_any_layout_in_memory():
    grid = np.arange(6, dtype="<f4").reshape(2, 3)
    for data, datatype, expected in (
        ([1.0, 2.0], "FP32", [1.0, 2.0]),
        ([[1, 2]], "INT64", [1, 2]),
        (["a", "b"], "BYTES", ["a", "b"]),
        (np.array(["a", "bc"]), "BYTES", ["a", "bc"]),
        (np.array([b"a", b"bc"]), "BYTES", ["a", "bc"]),
        (grid.T, "FP32", grid.T.ravel().tolist()),
        (np.asfortranarray(grid), "FP32", grid.ravel().tolist()),
        (grid.astype(">f4"), "FP32", grid.ravel().tolist()),
    ):
        shape = list(data.shape) if isinstance(data, np.ndarray) else [1, 2] if isinstance(data[0], list) else [2]
        (only,) = parsed(*answer(output(shape=shape, datatype=datatype, data=data)))[0]["outputs"]
        assert only["data"] == expected
        parts, length = answer(
            output(shape=shape, datatype=datatype, data=data), parameters={"binary_data_output": True}
        )
        if datatype != "BYTES":
            _, rest = parsed(parts, length)
            assert np.frombuffer(rest, DATATYPES[datatype].dtype).tolist() == expected


def test_large_outputs_go_out_without_a_copy():
    array = np.zeros(100_000, "<f4")
    parts, _ = answer(output(array=array), parameters={"binary_data_output": True})
    assert np.shares_memory(np.frombuffer(parts[1], np.uint8), array)


def test_parameters_of_the_answer_and_of_outputs_are_handed_on():
    made = output(parameters={"unit": "cm", "binary_data_size": 99})
    document, _ = parsed(*answer(made))
    assert document["outputs"][0]["parameters"] == {"unit": "cm"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datatype": "FP8"}, "output y: the model says datatype 'FP8'"),
        ({"datatype": "INT32"}, "output y: says INT32, holds float32"),
        ({"shape": [3]}, r"output y: says shape \[3\], holds \[2\]"),
        ({"shape": [2, 1]}, r"output y: says shape \[2, 1\], holds \[2\]"),
        ({"data": None}, "output y: the model gave no data"),
        ({"data": ["a", "b"]}, r"output y: the data does not fit FP32 \[2\]"),
        ({"data": [1.0]}, r"output y: the data does not fit FP32 \[2\]"),
        ({"data": [[1.0], [2.0, 3.0]]}, r"output y: the data does not fit FP32 \[2\]"),
        ({"data": np.array([1 + 2j, 0])}, "output y: says FP32, holds complex128"),
        ({"data": np.array(["a", "b"])}, "output y: says FP32, holds <U1"),
    ],
)
def test_an_answer_that_is_not_what_it_says_is_the_models_fault(changes, message):
    with pytest.raises(ModelFault, match=f"^{message}$"):
        answer(output(**changes))
