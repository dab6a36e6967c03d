"""Large arrays become the same JSON as small ones, written so that the event loop gets its turn."""

import asyncio
import json
import threading

import numpy as np
import orjson
import pytest

from moorage.api.oip import open_inference_pb2 as pb
from moorage_predictor.errors import InvalidInput, ModelFault
from moorage_predictor.wire import pieces
from moorage_predictor.wire.encode import infer_response
from moorage_predictor.wire.grpc_messages import infer_response as grpc_response
from moorage_predictor.wire.json_answers import v1_body
from moorage_predictor.wire.messages import InferOutput, InferRequest, InferResponse
from moorage_predictor.wire.outputs import bulky
from moorage_predictor.wire.pieces import BULKY, PIECE, InPieces, json_of
from moorage_predictor.wire.pipeline import Pipeline

SHAPES = [
    (PIECE + 1,),
    (3 * PIECE,),
    (1, 1, 300, 301),
    (2, PIECE + 5),
    (70_001, 2),
    (PIECE + 3, 1, 1),
    (0,),
    (2, 0),
]


def numbers(*shape):
    return np.random.default_rng(1).random(shape, dtype=np.float32)


def v2(array):
    request = InferRequest("m", [])
    return request, InferResponse(None, "m", [InferOutput("y", list(array.shape), "FP32", array)])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_text_is_what_one_call_would_write(shape):
    array = np.asarray(numbers(*shape), np.float32)
    assert orjson.dumps(json_of(array)) == orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)


def test_no_call_writes_more_than_a_piece(monkeypatch):
    sizes = []

    def dumps(value, **options):
        sizes.append(value.size)
        return orjson.dumps(value, **options)

    monkeypatch.setattr(pieces, "orjson", type("Watched", (), {**vars(orjson), "dumps": staticmethod(dumps)}))
    for shape in SHAPES:
        json_of(np.asarray(numbers(*shape), np.float32))
    v1_body({"predictions": [{"data": InPieces(numbers(1, 400, 400))}]})
    infer_response(*v2(numbers(1, 1, 400, 400)), "1", lambda name: None)
    assert max(sizes) <= PIECE
    assert sum(sizes) == sum(int(np.prod(shape)) for shape in SHAPES) + 2 * 160_000


def test_large_answers_of_every_protocol_hold_all_their_numbers():
    array = numbers(1, 1, 300, 301)
    parts, _ = infer_response(*v2(array), "1", lambda name: None)
    (output,) = json.loads(b"".join(parts))["outputs"]
    assert np.array_equal(np.array(output["data"], np.float32), array.ravel())
    message: pb.ModelInferResponse = grpc_response(*v2(array), "1", lambda name: None)
    assert np.array_equal(np.array(message.outputs[0].contents.fp32_contents, np.float32), array.ravel())
    body = json.loads(v1_body({"predictions": [{"data": InPieces(array[0])}]}))
    assert np.array_equal(np.array(body["predictions"][0]["data"], np.float32), array[0])


def test_nan_in_a_large_array_is_told_apart_as_in_a_small_one():
    array = numbers(400, 400)
    array[399, 7] = np.nan
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        infer_response(*v2(array), "1", lambda name: None)
    with pytest.raises(ModelFault, match="NaN or infinity"):
        v1_body({"predictions": [{"data": InPieces(array)}]})


class Giving:
    """A model on the server's loop that answers with so many numbers."""

    name, ready, never_blocks, fresh_outputs = "m", True, True, True
    bulky = staticmethod(bulky)

    def __init__(self, size):
        self.size = size

    async def predict(self, payload, headers=None):
        return v2(numbers(self.size))[1]


@pytest.mark.parametrize(("size", "on_the_loop"), [(BULKY, True), (BULKY + 1, False)], ids=["small", "large"])
async def test_the_loop_encodes_small_answers_itself_and_large_ones_in_a_thread(size, on_the_loop):
    pipeline = Pipeline(Giving(size))
    here = []

    def encode(answer):
        here.append(threading.current_thread() is threading.main_thread())
        return len(infer_response(InferRequest("m", []), answer, "1", lambda name: None)[0])

    assert await pipeline.predict(None, {}, encode) == (1, {})
    assert here == [on_the_loop]
    await asyncio.wait_for(pipeline.retire(), 10)
