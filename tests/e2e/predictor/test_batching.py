"""Many callers at once, through every protocol: each gets its own answer, and nobody waits or computes for those who left.

MOORAGE_STRESS_S says for how many seconds the crowd stays; the figure for a release is 60.
"""

import asyncio
import base64
import contextlib
import io
import json
import os
import random
import time
from collections import Counter

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image
from tests.e2e.predictor.conftest import PATIENCE_S, ROOT

from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

SECONDS = float(os.environ.get("MOORAGE_STRESS_S", "8"))
CLIENTS = 64
INFER, PREDICT = "/v2/models/cats/infer", "/v1/models/cats:predict"
NOTEBOOK = f"{ROOT / 'tests' / 'data' / 'models' / 'notebook.py'}:Notebook"


class Caller:
    """One client with one picture of its own; its three ways to ask give the ten confidences by class."""

    def __init__(self, number, http, infer):
        pixels = np.random.default_rng(number).integers(0, 256, (3, 4, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).resize((90, 70)).save(stream, "PNG")
        self._file = stream.getvalue()
        self._http, self._infer = http, infer
        self.ways = (self.v1, self.v2_json, self.v2_bytes, self.over_grpc)

    async def v1(self, **headers):
        body = {"instances": [{"b64": base64.b64encode(self._file).decode()}]}
        answer = await self._http.post(PREDICT, json=body, headers=headers)
        answer.raise_for_status()
        (found,) = answer.json()["predictions"]
        return _by_class([one["class_id"] for one in found["predictions"]], found["confidence_scores"])

    async def v2_json(self, **headers):
        tensor = {
            "name": "image",
            "datatype": "BYTES",
            "shape": [1],
            "data": [base64.b64encode(self._file).decode()],
        }
        answer = await self._http.post(INFER, json={"inputs": [tensor]}, headers=headers)
        answer.raise_for_status()
        outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
        return _by_class(outputs["class_id"], outputs["confidence"])

    async def v2_bytes(self, **headers):
        answer = await self._http.post(INFER, content=self._file, headers={"content-type": "image/png", **headers})
        answer.raise_for_status()
        outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
        return _by_class(outputs["class_id"], outputs["confidence"])

    async def over_grpc(self, **headers):
        request = pb.ModelInferRequest(model_name="cats")
        request.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(self._file)
        seconds = float(headers.get("x-request-timeout", PATIENCE_S))
        answer = await self._infer(request, timeout=seconds)
        at = {output.name: number for number, output in enumerate(answer.outputs)}
        if answer.raw_output_contents:
            raw = answer.raw_output_contents
            return _by_class(
                np.frombuffer(raw[at["class_id"]], np.int64), np.frombuffer(raw[at["confidence"]], np.float32)
            )
        contents = {name: answer.outputs[number].contents for name, number in at.items()}
        return _by_class(contents["class_id"].int64_contents, contents["confidence"].fp32_contents)


def _by_class(numbers, confidences):
    values = np.zeros(10)
    values[list(numbers)] = list(confidences)
    return values


@contextlib.asynccontextmanager
async def callers(predictor, number):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=number)
    async with (
        httpx.AsyncClient(base_url=predictor.url, timeout=PATIENCE_S, limits=limits) as http,
        grpc.aio.insecure_channel(predictor.grpc) as channel,
    ):
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        yield [Caller(one, http, infer) for one in range(number)]


@pytest.fixture
def classifier(start, tiny_model):
    return start(model_dir=str(tiny_model), top_k=10).until_ready()


async def ask_until(end, caller, expected, chance, counts):
    """Ask in every way; now and then with too little time, now and then leaving early."""
    while time.monotonic() < end:
        way = chance.choice(caller.ways)
        fate = chance.random()
        try:
            if fate < 0.1:
                await asyncio.wait_for(way(), chance.uniform(0, 0.03))
            elif fate < 0.2:
                assert np.allclose(await way(**{"x-request-timeout": "0.01"}), expected, atol=1e-5)
            else:
                assert np.allclose(await way(), expected, atol=1e-5), way.__name__
            counts["answered"] += 1
        except TimeoutError:
            counts["left"] += 1
        except httpx.HTTPStatusError as error:
            counts[error.response.json()["code"]] += 1
        except grpc.aio.AioRpcError as error:
            counts[error.code().name] += 1


async def test_in_a_crowd_everybody_gets_the_answer_that_they_would_get_alone(classifier):
    counts = Counter()
    async with callers(classifier, CLIENTS) as crowd:
        alone = []
        for caller in crowd:
            answers = [await way() for way in caller.ways]
            assert all(np.allclose(answer, answers[0], atol=1e-6) for answer in answers)
            alone.append(answers[0])
        assert len({tuple(answer.round(6)) for answer in alone}) == CLIENTS
        end = time.monotonic() + SECONDS
        await asyncio.gather(
            *(
                ask_until(end, caller, expected, random.Random(number), counts)
                for number, (caller, expected) in enumerate(zip(crowd, alone, strict=True))
            )
        )
        assert counts["answered"] > CLIENTS
        assert counts["left"]
        assert set(counts) <= {"answered", "left", "DEADLINE_EXCEEDED"}
        for caller, expected in zip(crowd, alone, strict=True):
            assert np.allclose(await caller.v1(), expected, atol=1e-5)
    stats = classifier.get("/v2/models/cats/stats").json()["model_stats"][0]
    assert stats["execution_count"] < stats["inference_count"], "nothing was batched"


async def test_many_pictures_in_one_request_are_answered_as_one_by_one(classifier):
    async with callers(classifier, 20) as crowd:
        body = {"instances": [{"b64": base64.b64encode(caller._file).decode()} for caller in crowd]}
        found = classifier.post(PREDICT, json=body).json()["predictions"]
        for caller, one in zip(crowd, found, strict=True):
            together = _by_class([item["class_id"] for item in one["predictions"]], one["confidence_scores"])
            assert np.allclose(await caller.v1(), together, atol=1e-5)


@pytest.fixture
def notebook(start, tmp_path):
    """Starts a model that is slow on purpose, and reads what it has computed."""

    def make(seconds, **options):
        file = tmp_path / "notebook"
        file.touch()
        predictor = start(
            env={"NOTEBOOK_SECONDS": str(seconds), "NOTEBOOK_FILE": str(file)}, task=NOTEBOOK, **options
        ).until_ready()
        return predictor, lambda: [[float(value) for value in line.split()] for line in file.read_text().splitlines()]

    return make


def row(value):
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}]}


async def asked(http, value, **headers):
    answer = await http.post(INFER, json=row(value), headers=headers)
    return answer.status_code, answer.json()


async def gathered(computed, number):
    """Until the model has begun so many calls."""
    deadline = time.monotonic() + PATIENCE_S
    while len(computed()) < number:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [1, 8], ids=["one by one", "batched"])
async def test_nothing_is_computed_for_clients_that_have_gone_or_are_too_late(notebook, size):
    predictor, computed = notebook(0.5, max_batch_size=size)
    async with httpx.AsyncClient(base_url=predictor.url, timeout=PATIENCE_S) as http:
        first = asyncio.create_task(asked(http, 1))
        await gathered(computed, 1)
        gone = [asyncio.create_task(asked(http, value)) for value in (2, 3)]
        late = asyncio.create_task(asked(http, 4, **{"x-request-timeout": "0.1"}))
        stays = asyncio.create_task(asked(http, 5))
        await asyncio.sleep(0.1)
        for task in gone:
            task.cancel()
        assert (await late)[0] == 504
        assert [(await task)[1]["outputs"][0]["data"] for task in (first, stays)] == [[2], [10]]
    assert computed() == [[1], [5]]


async def test_a_grpc_call_that_is_too_late_is_not_computed(notebook):
    predictor, computed = notebook(0.5)
    async with grpc.aio.insecure_channel(predictor.grpc) as channel:
        infer = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )

        def request(value):
            made = pb.ModelInferRequest(model_name="cats")
            made.inputs.add(name="x", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(value)
            return made

        first = asyncio.ensure_future(infer(request(1), timeout=PATIENCE_S))
        await gathered(computed, 1)
        late = asyncio.ensure_future(infer(request(2), timeout=0.1))
        last = asyncio.ensure_future(infer(request(3), timeout=PATIENCE_S))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await late
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.gather(first, last)
    assert computed() == [[1], [3]]


async def test_one_row_that_the_model_refuses_fails_alone(notebook):
    predictor, computed = notebook(0.2, max_batch_size=8)
    async with httpx.AsyncClient(base_url=predictor.url, timeout=PATIENCE_S) as http:
        first = asyncio.create_task(asked(http, 1))
        await gathered(computed, 1)
        answers = await asyncio.gather(*(asked(http, value) for value in (2, -1, 3)))
        await first
    assert [status for status, _ in answers] == [200, 500, 200]
    assert [answers[index][1]["outputs"][0]["data"] for index in (0, 2)] == [[4], [6]]
    assert sorted(computed()[1]) == [-1, 2, 3]


async def test_five_times_too_many_are_refused_at_once_and_the_rest_wait_no_longer_than_usual(notebook):
    predictor, _ = notebook(0.1, max_batch_size=4, max_queue_size=4)

    async def timed(http, value):
        started = time.monotonic()
        status, body = await asked(http, value)
        return status, body, time.monotonic() - started

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=predictor.url, timeout=PATIENCE_S, limits=limits) as http:
        answers = await asyncio.gather(*(timed(http, value) for value in range(40)))
        refused = [body for status, body, _ in answers if status == 503]
        admitted = [(body, value) for value, (status, body, _) in enumerate(answers) if status == 200]
        assert len(refused) >= 30
        assert {body["code"] for body in refused} == {"SERVER_OVERLOADED"}
        assert all(body["outputs"][0]["data"] == [2 * value] for body, value in admitted)
        assert 1 <= len(admitted) <= 9
        status, _ = await asked(http, 1)
        assert status == 200
    answer = httpx.post(predictor.url + INFER, content=json.dumps(row(1)))
    assert answer.status_code == 200
