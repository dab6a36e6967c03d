"""Models, loaded or not: who is asked, who must wait, who is not there."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest
from PIL import Image
from tests.unit.predictor.served import Echo

from moorage.api.predictor import PredictorSettings
from moorage_predictor.batching import BatchLimits
from moorage_predictor.engine.config import DataConfig
from moorage_predictor.errors import InvalidInput, LoadFailed, ModelUnavailable, NotFound, Overloaded
from moorage_predictor.tasks.image_classification import ImageClassifier, Limits
from moorage_predictor.wire.model import ClassifierModel
from moorage_predictor.wire.repository import Repository
from moorage_predictor.wire.served import Served


@pytest.fixture
async def served():
    """Makes models that are let go after the test."""
    made = []

    def make(**changes):
        made.append(Served(**{"name": "cats", "version": "2", "max_pending": 2, "platform": "test", **changes}))
        return made[-1]

    yield make
    for one in made:
        await one.unload()
        while one._retiring:
            await asyncio.sleep(0.001)


async def test_a_model_is_found_by_name_and_version(served):
    one = served()
    repository = Repository([one])
    assert repository.find("cats") is one
    assert repository.find("cats", "2") is one
    with pytest.raises(NotFound, match=r"^no model 'dogs' here; there is cats$"):
        repository.find("dogs")
    with pytest.raises(NotFound, match=r"^the model cats has no version '1'; it has 2$"):
        repository.find("cats", "1")


async def test_a_long_name_is_not_quoted_back(served):
    with pytest.raises(NotFound) as caught:
        Repository([served()]).find("x" * 100_000)
    assert len(str(caught.value)) < 200


async def test_before_it_is_loaded_it_is_known_and_unavailable(served):
    one = served()
    assert (one.ready, one.state) == (False, "LOADING")
    with pytest.raises(ModelUnavailable, match="the model cats is still loading"):
        one.admit()
    assert one.input_types() == []
    assert one.labels("y") is None


async def test_once_served_it_is_ready_and_says_so(served):
    told = []
    one = served(changed=lambda served: told.append(served.ready))
    one.serve(Echo())
    assert (one.ready, one.state, told) == (True, "READY", [True])
    assert one.admit() is one.pipeline
    one.drain()
    assert (one.ready, told) == (False, [True, False])
    assert one.admit()  # still answered while the listeners are open


class Network:
    """Sees one class in everything."""

    num_classes = 1
    data = DataConfig(input_size=(3, 4, 4), mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear", crop_pct=1.0)
    engine = {}

    def forward(self, batch, threads=None):
        return np.zeros((len(batch), 1), np.float32)


def classifier(network):
    limits = Limits(max_image_bytes=10**6, max_image_side=100)
    settings = PredictorSettings(model_name="cats", task="image-classification", model_dir="/nowhere")
    return ClassifierModel(ImageClassifier(network, ("thing",), top_k=1, limits=limits), settings)


class Own:
    """Of a user, with a network in it."""

    name, ready = "cats", True

    def __init__(self, network):
        self.network = network

    def predict(self, payload, headers=None):
        return {"predictions": self.network.forward(payload["instances"]).tolist()}


@pytest.mark.parametrize(
    ("make", "batching"),
    [(classifier, None), (Own, None), (Own, BatchLimits(8, 100))],
    ids=["classifier", "own", "own, batched"],
)
async def test_the_weights_of_an_unloaded_model_go_without_a_collection(served, encode, make, batching):
    one = served(batching=batching)
    network = Network()
    one.serve(make(network))
    image = encode(Image.new("RGB", (4, 4)))
    answer, _ = await one.admit().predict({"instances": [{"b64": image}]}, {})
    assert answer["predictions"]
    there = weakref.ref(network)
    del network
    gc.collect()
    gc.disable()
    try:
        await one.unload()
        assert there() is None
    finally:
        gc.enable()


async def test_a_model_that_says_it_is_not_ready_is_not(served):
    one = served()
    one.serve(Echo())
    one.model.ready = False
    assert not one.ready
    assert str(one.why_not()) == "the model cats says that it is not ready"


async def test_more_requests_than_may_wait_are_sent_away(served):
    one = served()
    one.serve(Echo())
    one.pipeline.active = 2
    assert one.pending == 2
    with pytest.raises(Overloaded, match="the model cats has 2 requests waiting; try again"):
        one.admit()
    one.pipeline.active = 0


async def test_unloaded_it_is_not_found_until_it_is_loaded_again(served):
    made = []

    def load():
        made.append(Echo())
        return made[-1]

    one = served(load=load)
    repository = Repository([one])
    one.serve(load())
    await one.unload()
    assert (one.state, one.reason, one.ready) == ("UNAVAILABLE", "unloaded", False)
    assert await repository.is_ready()  # nobody wants it
    with pytest.raises(NotFound, match="the model cats is not loaded: unloaded"):
        one.admit()
    assert repository.index(only_ready=True) == []
    assert repository.index(only_ready=False) == [
        {"name": "cats", "version": "2", "state": "UNAVAILABLE", "reason": "unloaded"}
    ]
    await one.unload()  # again does nothing
    await one.load()
    assert one.ready
    assert one.model is made[1]
    assert repository.index(only_ready=True) == [{"name": "cats", "version": "2", "state": "READY", "reason": ""}]


async def test_the_old_model_answers_until_the_new_one_is_there(served):
    loading, go = threading.Event(), threading.Event()

    def load():
        loading.set()
        go.wait(5)
        return Echo()

    one = served(load=load)
    one.serve(Echo())
    old = one.pipeline
    task = asyncio.create_task(one.load())
    await asyncio.to_thread(loading.wait, 5)
    assert one.ready
    assert one.admit() is old
    go.set()
    await task
    assert one.admit() is not old


async def test_a_load_that_fails_leaves_what_was_served(served, caplog):
    def load():
        raise LoadFailed("model.pth", "truncated")

    one = served(load=load)
    one.serve(Echo())
    with pytest.raises(InvalidInput, match=r"^the model cats was not loaded; the server's log has the reason$"):
        await one.load()
    assert one.ready
    await one.unload()
    with pytest.raises(InvalidInput, match="was not loaded"):
        await one.load()
    assert (one.state, one.reason) == ("UNAVAILABLE", "it could not be loaded; the server's log has the reason")
    assert [record.reason for record in caplog.records if record.message == "load failed"] == 2 * [
        "model.pth: truncated"
    ]
    assert not await Repository([one]).is_ready()


async def test_a_load_that_fails_of_itself_says_nothing_about_us(served, caplog):
    def load():
        raise RuntimeError("/secret/path")

    one = served(load=load)
    with pytest.raises(InvalidInput, match=r"^the model cats was not loaded; the server's log has the reason$"):
        await one.load()
    assert "/secret/path" in caplog.text


async def test_a_model_without_a_way_to_load_it_cannot_be_loaded_again(served):
    with pytest.raises(InvalidInput, match="the model cats cannot be loaded again"):
        await served().load()


async def test_trace_settings_are_shared_until_a_model_gets_its_own(served):
    one = served()
    repository = Repository([one])
    repository.trace.update({"trace_rate": "5"})
    assert one.trace.rate == 5
    repository.set_trace(one, {"trace_level": "TIMESTAMPS"})
    repository.trace.update({"trace_rate": "7"})
    assert (one.trace.level, one.trace.rate, repository.trace.level) == ("TIMESTAMPS", 5, "OFF")


async def test_a_finished_request_is_counted_and_traced_if_it_is_its_turn(served, caplog):
    caplog.set_level("INFO")
    one = served()
    one.trace.update({"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "1"})
    for number in range(6):
        one.finished("v2", f"id-{number}", 3, (1_000, 2_000, 5_000, 6_000))
    counted = one.statistics.as_dict("cats", "2")
    assert (counted["inference_count"], counted["execution_count"]) == (18, 6)
    assert counted["inference_stats"]["success"] == {"count": 6, "ns": 30_000}
    assert counted["inference_stats"]["compute_infer"] == {"count": 6, "ns": 18_000}
    assert counted["last_inference"] > 10**12
    traces = [record for record in caplog.records if record.message == "trace"]
    assert [(record.id, record.protocol, record.compute_infer_us) for record in traces] == [("id-1", "v2", 3)]
