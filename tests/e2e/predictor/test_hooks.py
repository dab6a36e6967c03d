"""A class with hooks in a real process: the same answers through every protocol, and a bad row that fails alone."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tests.e2e.predictor.conftest import PATIENCE_S, ROOT, Predictor

from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

PREDICT, INFER = "/v1/models/cats:predict", "/v2/models/cats/infer"
TEXTS = ["a fine day", "extraordinarily odd"]


@pytest.fixture(scope="module")
def words():
    predictor = Predictor(task=f"{ROOT / 'tests' / 'data' / 'models' / 'words.py'}:Words")
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()


def test_every_protocol_gives_the_same_answers(words):
    v1 = words.post(PREDICT, json={"instances": TEXTS}).json()["predictions"]
    assert [row["verdict"] for row in v1] == ["short", "long"]
    means = pytest.approx([row["mean"] for row in v1])

    tensor = {"name": "text", "datatype": "BYTES", "shape": [2]}
    v2 = words.post(INFER, json={"inputs": [{**tensor, "data": TEXTS}]}).json()["outputs"]
    assert {output["name"]: output["data"] for output in v2} == {
        "mean": means,
        "verdict": ["short", "long"],
        "lengths": ["[1,4,3]", "[15,3]"],
    }

    with grpc.insecure_channel(words.grpc) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )
        contents = {"bytes_contents": [text.encode() for text in TEXTS]}
        answer = infer(pb.ModelInferRequest(model_name="cats", inputs=[{**tensor, "contents": contents}]))
        assert list(answer.outputs[0].contents.fp32_contents) == means
        bad = pb.ModelInferRequest(
            model_name="cats", inputs=[{**tensor, "shape": [1], "contents": {"bytes_contents": [b" "]}}]
        )
        with pytest.raises(grpc.RpcError) as error:
            infer(bad, timeout=PATIENCE_S)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details() == "inputs[0]: expected words, found none"


def test_of_many_callers_only_the_one_with_the_bad_row_is_failed_and_learns_the_hook_and_the_line(words):
    def ask(text):
        return words.post(PREDICT, json={"instances": [text]})

    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(ask, ["extraordinary" if n == 7 else "fine" for n in range(32)]))
    assert [n for n, answer in enumerate(answers) if answer.status_code != 200] == [7]
    error = answers[7].json()["error"]
    assert error.startswith("the model cats failed in predict at words.py, line ")
    assert "Traceback" not in answers[7].text
    assert words.until_logged('"hook": "predict"')


def test_its_metadata_is_what_the_class_says(words):
    described = words.get("/v2/models/cats").json()
    assert described["platform"] == "moorage_custom"
    assert [output["name"] for output in described["outputs"]] == ["mean", "verdict", "lengths"]
