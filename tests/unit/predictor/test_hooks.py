"""Classes of the user's with decode, batch, predict and encode: what each hook gets, who shares a batch, who fails alone."""

import asyncio
import base64
import concurrent.futures
import logging
import sys
import threading
from pathlib import Path

import kserve.errors
import numpy as np
import pytest
import torch
from tests.data.models.words import Words
from tests.unit.predictor.served import InProcess, request_of

from moorage.api.predictor import PredictorSettings
from moorage_predictor.batching import BatchLimits
from moorage_predictor.errors import InvalidInput, LoadFailed, ModelFault, Overloaded, Unsupported
from moorage_predictor.tasks.custom import HookFailed, construct
from moorage_predictor.wire.adapt import adapted
from moorage_predictor.wire.datatypes import BYTES
from moorage_predictor.wire.hooked import HookedModel
from moorage_predictor.wire.messages import InferRequest, Tensor
from moorage_predictor.wire.pipeline import Pipeline

FILE = Path(sys.modules[Words.__module__].__file__)


def settings(**more):
    return PredictorSettings(model_name="cats", task="own:Own", **more)


def line_of(words):
    return next(number for number, line in enumerate(FILE.read_text().splitlines(), 1) if words in line)


def words(**more):
    return adapted(construct(Words, "cats", None), settings(**more))


def own(**hooks):
    """A model of a class with these hooks."""
    return adapted(type("Own", (), {name: staticmethod(hook) for name, hook in hooks.items()})(), settings())


async def texts(model, *items):
    return await model.predict({"instances": list(items)})


def texts_v2(*items, parameters=None):
    array = np.array(items, dtype=object)
    return InferRequest("cats", [Tensor("text", [len(items)], BYTES, array, parameters=parameters)])


def values(response):
    return {output.name: output.data.tolist() for output in response.outputs}


async def test_every_hook_has_its_part_and_both_protocols_give_the_same_answers():
    model = words()
    v1 = await texts(model, "a fine day", "extraordinarily odd")
    assert v1["predictions"][0] == {"mean": pytest.approx(8 / 3), "verdict": "short", "lengths": [1, 4, 3]}
    assert v1["predictions"][1]["verdict"] == "long"
    v2 = await model.predict(texts_v2("a fine day", b"extraordinarily odd"))
    assert values(v2)["verdict"] == ["short", "long"]
    assert values(v2)["lengths"] == [b"[1,4,3]", b"[15,3]"]
    assert [output.datatype for output in v2.outputs] == ["FP32", "BYTES", "BYTES"]
    assert values(v2)["mean"] == pytest.approx([row["mean"] for row in v1["predictions"]])


@pytest.mark.parametrize(
    ("item", "hook", "line"),
    [
        ("fail in decode", "decode", 'raise KeyError("hunter2")'),
        ("fail in batch", "batch", "padded = np.zeros"),
        ("extraordinary", "predict", "raise RuntimeError"),
        ("simultaneous", "encode", "raise LookupError"),
    ],
)
async def test_a_hook_that_fails_is_named_with_its_file_and_line_and_the_reason_stays_in_the_log(
    item, hook, line, caplog
):
    server = InProcess(words())
    answer = await server.post("/v1/models/cats:predict", json={"instances": [item]})
    at = f"words.py, line {line_of(line)}"
    assert answer.status_code == 500
    assert answer.json() == {
        "error": f"the model cats failed in {hook} at {at}; the server's log has the reason",
        "code": "INTERNAL",
    }
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (record.hook, record.where) == (hook, at)
    assert record.exc_info


async def test_what_decode_has_against_an_item_is_the_callers_mistake_and_the_item_is_named():
    server = InProcess(words())
    v1 = await server.post("/v1/models/cats:predict", json={"instances": ["fine", " "]})
    assert (v1.status_code, v1.json()["error"]) == (400, "instances[1]: expected words, found none")
    v2 = await server.infer({"name": "text", "datatype": "BYTES", "shape": [1], "data": [" "]})
    assert (v2.status_code, v2.json()["error"]) == (400, "inputs[0]: expected words, found none")


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (InvalidInput("not this one"), InvalidInput),
        (kserve.errors.InvalidInput("not this one"), InvalidInput),
        (NotImplementedError(), Unsupported),
        (SystemExit(3), HookFailed),
        (StopIteration(), HookFailed),
        (asyncio.CancelledError(), HookFailed),
        (concurrent.futures.CancelledError(), HookFailed),
        (GeneratorExit(), HookFailed),
        (OSError("/etc/weights"), HookFailed),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
@pytest.mark.parametrize("hook", ["decode", "predict", "encode"])
async def test_what_a_hook_raises_ends_its_request_alone(hook, raised, told, caplog):
    failing = True

    def hook_itself(value):
        if failing:
            raise raised
        return value

    hooks = {"decode": lambda item: item, "predict": lambda batch: batch, "encode": lambda row: row}
    server = Pipeline(own(**{**hooks, hook: hook_itself}))
    with pytest.raises(told):
        await server.predict({"instances": [1]}, {})
    assert bool(caplog.records) == (told is HookFailed)
    failing = False
    assert await server.predict({"instances": [1]}, {}) == ({"predictions": [1]}, {})


async def test_requests_that_come_together_share_a_batch_and_a_poisonous_row_fails_alone():
    server = InProcess(words(max_batch_size=4))
    inner = server.served.model._own
    poison = "extraordinary"

    async def ask(text):
        return await server.post("/v1/models/cats:predict", json={"instances": [text]})

    answers = await asyncio.gather(*[ask(text) for text in ("a", "be", poison, "sea")])
    assert [answer.status_code for answer in answers] == [200, 200, 500, 200]
    assert [answer.json()["predictions"][0]["mean"] for answer in answers if answer.status_code == 200] == [1, 2, 3]
    assert max(inner.batches) > 1


async def test_a_long_request_runs_in_batches_of_the_size_that_was_asked_for():
    model = words(max_batch_size=4)
    answer = await texts(model, *["word"] * 10)
    assert len(answer["predictions"]) == 10
    assert model._own.batches == [4, 4, 2]


async def test_who_comes_when_the_queue_is_full_is_told_to_come_again():
    working, go_on = threading.Event(), threading.Event()

    def predict(batch):
        working.set()
        go_on.wait(10)
        return batch

    class Own:
        def decode(self, item):
            return item

        def predict(self, batch):
            return predict(batch)

    model = adapted(Own(), settings(max_batch_size=1, max_queue_size=1))
    first = asyncio.gather(*[model.predict({"instances": [1]}) for _ in range(2)])
    await asyncio.to_thread(working.wait, 10)
    with pytest.raises(Overloaded):
        await model.predict({"instances": [3]})
    go_on.set()
    assert await first == [{"predictions": [1]}] * 2


async def test_rows_of_different_shapes_share_no_batch_unless_the_class_makes_them():
    seen = []

    def predict(batch):
        seen.append(batch.shape)
        return batch.sum(axis=-1)

    model = own(encode=lambda row: row, predict=predict)
    assert await model.predict({"instances": [[1.5, 2], [3, 4.0], [5, 6, 7.0]]}) == {"predictions": [3.5, 7.0, 18.0]}
    assert seen == [(2, 2), (1, 3)]


@pytest.mark.parametrize(
    ("item", "given"),
    [
        ({"b64": base64.b64encode(b"photo").decode()}, b"photo"),
        ({"b64": b"photo"}, b"photo"),
        ({"image": {"b64": "cGhvdG8="}, "size": 3}, {"image": b"photo", "size": 3}),
        ("text", "text"),
        (None, None),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
    ids=repr,
)
async def test_an_instance_of_v1_reaches_decode_as_it_is_but_base64_as_bytes(item, given):
    got = []
    model = own(decode=lambda item: got.append(item) or 0, predict=lambda batch: batch)
    await model.predict({"instances": [item]})
    assert got == [given]


async def test_a_row_of_v2_reaches_decode_alone_or_with_those_of_the_other_inputs_by_name():
    got = []
    model = own(decode=lambda item: got.append(item) or 0, predict=lambda batch: batch)
    await model.predict(request_of(x=np.array([[1, 2], [3, 4]], "<f4")))
    assert [row.tolist() for row in got] == [[1, 2], [3, 4]]
    got.clear()
    await model.predict(request_of(x=np.array([1, 2], "<i4"), y=np.array([[1], [2]], "<f4")))
    assert got[1] == {"x": 2, "y": [2]}
    got.clear()
    await model.predict(texts_v2("cGhvdG8=", b"photo", parameters={"content_type": "base64"}))
    assert got == [b"photo", b"photo"]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": np.zeros(2, "<f4"), "y": np.zeros(3, "<f4")}, "as many in each input, found 2 in x, 3 in y"),
        ({"x": np.zeros((0, 2), "<f4")}, "expected rows"),
        ({"x": np.float32(1).reshape(())}, "expected a first dimension"),
        ({}, "found no input"),
    ],
)
async def test_inputs_that_are_no_rows_are_refused(tensors, message):
    with pytest.raises(InvalidInput, match=message):
        await words().predict(request_of(**tensors))


@pytest.mark.parametrize(("body", "message"), [({"inputs": [1]}, "expected instances"), ([1], "expected instances")])
async def test_a_body_without_instances_is_refused(body, message):
    with pytest.raises(InvalidInput, match=message):
        await words().predict(body)
    assert await words().predict({"instances": []}) == {"predictions": []}


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([[[1], [2, 3]]], r"instances\[0\]: expected lists of equal length"),
        ([None], r"instances\[0\]: expected numbers"),
    ],
)
async def test_without_decode_items_must_be_numbers_text_or_bytes(instances, message):
    with pytest.raises(InvalidInput, match=message):
        await own(encode=lambda row: row, predict=lambda batch: batch).predict({"instances": instances})


async def test_tensors_are_stacked_computed_and_sent_as_numbers():
    model = own(
        decode=lambda item: {"x": torch.tensor(item), "weight": 2.0},
        predict=lambda batch: (batch["x"] * torch.from_numpy(batch["weight"])[:, None], [batch["x"].shape])[0],
    )
    assert await model.predict({"instances": [[1.0, 2.0], [3.0, 4.0]]}) == {"predictions": [[2, 4], [6, 8]]}
    response = await model.predict(request_of(x=np.array([[1, 2]], "<f4")))
    assert [(output.name, output.datatype, output.shape) for output in response.outputs] == [("output", "FP64", [1, 2])]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros(3), "predict: expected 2 rows for 2, found 3 in a ndarray"),
        (torch.zeros(()), "predict: expected 2 rows for 2, found Tensor"),
        (7, "predict: expected 2 rows for 2, found int"),
        ("ab", "predict: expected 2 rows for 2, found 2 in a str"),
        ({"y": [1]}, "predict: y: expected 2 rows for 2, found 1 in a list"),
        (None, "predict: expected 2 rows for 2, found NoneType"),
    ],
    ids=repr,
)
async def test_a_result_that_has_not_one_row_for_each_is_the_models_fault(result, message):
    with pytest.raises(ModelFault, match=message):
        await own(decode=lambda item: item, predict=lambda batch: result).predict({"instances": [1, 2]})


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([[1], [2, 3]], "output output: the rows are of different shapes"),
        ([{"a": 1}, {"b": 1}], "expected the same keys for every row, a"),
        ([{}, {}], "at least one key"),
        ([1j, 2j], "output output: expected numbers, booleans, text or bytes, found complex128"),
    ],
    ids=repr,
)
async def test_answers_that_no_tensor_can_hold_are_the_models_fault(answers, message):
    model = own(decode=lambda item: item, predict=lambda batch: answers)
    with pytest.raises(ModelFault, match=message):
        await model.predict(request_of(x=np.array([1, 2], "<i4")))


async def test_an_output_has_the_datatype_that_the_class_states():
    class Own:
        outputs = [
            {"name": "boxes", "datatype": "BYTES", "shape": [-1]},
            {"name": "n", "datatype": "INT32", "shape": [-1]},
        ]

        def decode(self, item):
            return int(item)

        def predict(self, batch):
            return {"n": batch, "boxes": [[[1.5, 2]] * count for count in batch]}

    response = await adapted(Own(), settings()).predict(request_of(x=np.array([1, 2], "<i8")))
    assert {output.name: output.datatype for output in response.outputs} == {"n": "INT32", "boxes": "BYTES"}
    assert values(response)["boxes"] == [b"[[1.5,2]]", b"[[1.5,2],[1.5,2]]"]
    Own.outputs = [{"name": "n", "datatype": "INT32", "shape": [-1]}]
    Own.predict = lambda self, batch: {"n": [0.5 for _ in batch]}
    with pytest.raises(ModelFault, match="output n: expected INT32 as in `outputs`, found float64"):
        await adapted(Own(), settings()).predict(request_of(x=np.array([1, 2], "<i8")))


def test_a_class_says_where_its_setup_failed(tmp_path):
    class Own(Words):
        def setup(self, model_dir, device):
            self.complain(device)

    with pytest.raises(LoadFailed) as caught:
        construct(Own, "cats", tmp_path)
    assert "--task Own: setup failed at test_hooks.py, line " in str(caught.value)
    assert "LookupError: no verdict for c" in str(caught.value)


def test_setup_gets_what_it_takes(tmp_path):
    class Nothing:
        def setup(self):
            self.got = ()

    class Device:
        def setup(self, path, device):
            self.got = (path, device)

    assert construct(Nothing, "cats", tmp_path).got == ()
    assert construct(Device, "cats", tmp_path).got == (str(tmp_path), "cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"decode": lambda item: item}, r"expected predict\(batch\) beside decode"),
        ({"encode": lambda row: row, "predict": asyncio.sleep}, "predict: expected def, found async def"),
    ],
)
def test_a_class_whose_hooks_cannot_be_called_is_refused(hooks, message):
    with pytest.raises(LoadFailed, match=message):
        own(**hooks)


async def test_it_says_how_it_runs_and_is_closed_at_the_end():
    closed = []
    model = own(decode=lambda item: item, predict=lambda batch: batch, close=lambda: closed.append(True))
    assert isinstance(model, HookedModel)
    assert (model.parameters(), model.waiting, model.get_input_types()) == ({"max_batch_size": 8}, 0, [])
    pipeline = Pipeline(model, BatchLimits(4, 4))
    assert pipeline.batches
    await pipeline.retire()
    assert (model.ready, closed) == (False, [True])


async def test_a_call_of_predict_counts_as_the_models_work_after_its_caller_has_gone():
    working, go_on = threading.Event(), threading.Event()

    def predict(batch):
        working.set()
        go_on.wait(10)
        return batch

    pipeline = Pipeline(own(decode=lambda item: item, predict=predict))
    asked = asyncio.ensure_future(pipeline.predict({"instances": [1]}, {}))
    await asyncio.to_thread(working.wait, 10)
    asked.cancel()
    await asyncio.wait([asked])
    assert (pipeline.active, pipeline.at_work) == (0, True)
    go_on.set()
    await pipeline.retire()
    assert not pipeline.busy
