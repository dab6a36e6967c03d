"""Answers belong to their own requests, whatever the model, the clients and the loads do meanwhile."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.e2e.predictor.wire import Wire, request

ONE_BUFFER = """
import time
import numpy as np
from kserve import InferOutput, InferResponse, Model


class OneBuffer(Model):
    def __init__(self, name):
        super().__init__(name)
        self.buffer = np.empty((1, 20_000), np.float32)
        self.ready = True

    def predict(self, payload, headers=None):
        time.sleep(0.002)
        self.buffer[:] = payload.inputs[0].as_numpy()[0, 0]
        return InferResponse(payload.id, self.name, [InferOutput("y", [1, 20_000], "FP32", self.buffer)])
"""
INFER = "/v2/models/cats/infer"


def body(number, **more):
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}], **more}


@pytest.fixture
def one_buffer(start, tmp_path):
    """A model that writes each answer over the one before, in a process that may load it again."""
    file = tmp_path / "one_buffer.py"
    file.write_text(ONE_BUFFER)
    return start(task=f"{file}:OneBuffer", control_endpoints=True, body_timeout_s=2).until_ready()


def test_a_model_that_writes_over_its_answers_mixes_none(one_buffer):
    def ask(number):
        binary = number % 2 == 0
        asked = body(number, parameters={"binary_data_output": binary})
        answer = one_buffer.post(INFER, json=asked)
        if not binary:
            return number, set(answer.json()["outputs"][0]["data"])
        length = int(answer.headers["inference-header-content-length"])
        return number, set(memoryview(answer.content[length:]).cast("f"))

    with ThreadPoolExecutor(16) as pool:
        for number, found in pool.map(ask, range(200)):
            assert found == {float(number)}


def test_a_body_that_comes_while_the_model_is_loaded_again_is_answered_by_the_new_one(one_buffer):
    data = json.dumps(body(7)).encode()
    with Wire(one_buffer.settings.http_port) as wire:
        wire.send(request("POST", INFER, content_length=str(len(data))) + data[:10])
        time.sleep(0.2)
        assert one_buffer.post("/v2/repository/models/cats/load").status_code == 200
        wire.send(data[10:])
        answer = wire.answer("POST")
    assert answer.status == 200
    assert set(json.loads(answer.body)["outputs"][0]["data"]) == {7.0}


def test_a_client_that_does_not_read_is_ended(one_buffer):
    ask = request("POST", INFER, json.dumps(body(1)).encode())
    with Wire(one_buffer.settings.http_port) as wire:
        deadline = time.monotonic() + 60
        while wire.send(ask * 20):  # until its answers fill every buffer, and the server gives up
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert one_buffer.post(INFER, json=body(3)).status_code == 200
