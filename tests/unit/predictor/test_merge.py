"""Requests of several callers as one request, and each caller's own rows of its answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage_predictor.wire.datatypes import DATATYPES
from moorage_predictor.wire.merge import NotByRowsError, company, merged, parted
from moorage_predictor.wire.messages import TYPES, InferOutput, InferRequest, InferResponse, Tensor


def tensor(array, name="x", datatype="FP32", parameters=None):
    return Tensor(name, list(array.shape), DATATYPES[datatype], array, parameters=parameters)


def request(*tensors, parameters=None, request_id=None):
    return InferRequest("m", list(tensors), request_id, parameters)


def rows(count, width=2, start=0):
    return np.arange(start, start + count * width, dtype=np.float32).reshape(count, width)


class TestCompany:
    def test_the_same_inputs_with_other_numbers_of_rows_go_together(self):
        one, other = company(request(tensor(rows(1)))), company(request(tensor(rows(3))))
        assert one[0] == other[0]
        assert (one[1], other[1]) == (1, 3)

    @pytest.mark.parametrize(
        "other",
        [
            request(tensor(rows(1, 3))),
            request(tensor(rows(1), name="y")),
            request(tensor(rows(1).astype(np.float64), datatype="FP64")),
            request(tensor(rows(1)), tensor(rows(1), name="y")),
            request(tensor(rows(1)), parameters={"temperature": 1}),
            request(tensor(rows(1), parameters={"layout": "a"})),
            {"instances": [[0, 1]]},
        ],
        ids=["width", "name", "datatype", "more inputs", "parameter", "tensor's parameter", "V1"],
    )
    def test_what_differs_does_not(self, other):
        assert company(other)[0] != company(request(tensor(rows(1))))[0]

    def test_a_parameter_that_is_true_is_not_one_that_is_1(self):
        first, second = (company(request(tensor(rows(1)), parameters={"p": value})) for value in (True, 1))
        assert first[0] != second[0]

    def test_how_the_answer_is_carried_does_not_matter(self):
        binary = request(tensor(rows(1), parameters={"binary_data_size": 8}), parameters={"binary_data_output": True})
        assert company(binary)[0] == company(request(tensor(rows(1))))[0]

    @pytest.mark.parametrize("other", [[[0.5]], [["7"]], [[True]], [[1, 2]], [[2**63]], [[1, "a"]], [{"b64": ""}]])
    def test_rows_of_another_kind_do_not_change_what_becomes_of_v1_rows(self, other):
        form = company({"instances": other})
        assert form is None or form[0] != company({"instances": [[16_777_217]]})[0]

    def test_whole_numbers_among_fractions_are_of_their_kind(self):
        one, other = company({"instances": [[1, 0.5]]}), company({"instances": [[2.5, 3.5], [1, 2]]})
        assert one[0] == other[0]

    @pytest.mark.parametrize(
        "alone",
        [
            {"instances": [[1, 2], [3]]},
            {"instances": [[]]},
            {"instances": [[0.5] * 5000]},
            request(tensor(np.float32(1).reshape(()))),
            request(tensor(rows(0))),
            request(tensor(rows(2)), tensor(rows(3), name="y")),
            request(),
            {"instances": [[1]], "signature_name": "s"},
            {"instances": []},
            {"inputs": [[1]]},
        ],
    )
    def test_what_has_no_rows_of_its_own_runs_by_itself(self, alone):
        assert company(alone) is None


class TestMerging:
    @given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    def test_each_gets_back_exactly_its_own_rows(self, counts):
        payloads = [
            request(tensor(rows(count, start=100 * number)), request_id=f"id{number}")
            for number, count in enumerate(counts)
        ]
        one = merged(payloads, TYPES)
        doubled = InferResponse(
            None, "m", [InferOutput("y", one.inputs[0].shape, "FP32", one.inputs[0].as_numpy() * 2)]
        )
        for payload, part in zip(payloads, parted(doubled, payloads, counts), strict=True):
            assert part.id == payload.id
            assert part.outputs[0].shape == payload.inputs[0].shape
            assert np.array_equal(part.outputs[0].as_numpy(), payload.inputs[0].as_numpy() * 2)

    def test_strings_and_bytes_stay_what_they_are(self):
        text = tensor(np.array(["a"], dtype=object), datatype="BYTES")
        binary = tensor(np.array([b"\xff"], dtype=object), datatype="BYTES")
        assert merged([request(text), request(binary)], TYPES).inputs[0].as_numpy().tolist() == ["a", b"\xff"]

    def test_what_the_caller_said_of_the_answer_is_not_told_to_the_model(self):
        asks = {"binary_data_output": True, "timeout": 5, "temperature": 2}
        assert merged([request(tensor(rows(1)), parameters=asks)], TYPES).parameters == {"temperature": 2}

    def test_v1_instances_too(self):
        payloads = [{"instances": [[1], [2]]}, {"instances": [[3]]}]
        assert merged(payloads, TYPES) == {"instances": [[1], [2], [3]]}
        parts = parted({"predictions": [10, 20, 30]}, payloads, [2, 1])
        assert parts == [{"predictions": [10, 20]}, {"predictions": [30]}]


class TestAnswersThatCannotBeParted:
    @pytest.mark.parametrize(
        "output", [np.zeros(3, np.float32), np.zeros((1, 2), np.float32), np.zeros((), np.float32)]
    )
    def test_a_row_too_many_or_too_few(self, output):
        payloads = [request(tensor(rows(1))), request(tensor(rows(1)))]
        answer = InferResponse(None, "m", [InferOutput("y", list(output.shape), "FP32", output)])
        with pytest.raises(NotByRowsError, match="output y: expected 2 rows"):
            parted(answer, payloads, [1, 1])

    @pytest.mark.parametrize(
        "answer", [{"predictions": [1]}, {"predictions": [1, 2], "more": 3}, {"answers": [1, 2]}, [1, 2]]
    )
    def test_a_v1_answer_of_another_form(self, answer):
        with pytest.raises(NotByRowsError):
            parted(answer, [{"instances": [1]}, {"instances": [2]}], [1, 1])
