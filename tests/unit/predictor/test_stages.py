"""Images of many requests through one classifier: whose classes are whose, who fails, who is refused, who is not computed."""

import asyncio
import io
import threading

import numpy as np
import pytest
from PIL import Image

from moorage_predictor.batching import BatchLimits
from moorage_predictor.engine.config import DataConfig
from moorage_predictor.engine.inspection import Inspected, Tokens
from moorage_predictor.errors import ImageInvalid, Overloaded
from moorage_predictor.tasks.image_classification import EncodedImages, ImageClassifier, Limits, PreparedImages
from moorage_predictor.tasks.image_classification.asked import Asked, Attention
from moorage_predictor.tasks.image_classification.prepare import Prepare
from moorage_predictor.tasks.image_classification.room import Room
from moorage_predictor.tasks.image_classification.stages import Stages

CLASSES = 16


class Sorter:
    """Says of an image whose every value is c that it is of class c; writes down its batches; works while `open`."""

    num_classes = CLASSES
    data = DataConfig(input_size=(3, 4, 4), mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear", crop_pct=1.0)

    def __init__(self):
        self.batches = []
        self.open = threading.Event()
        self.open.set()

    def forward(self, batch, threads=None):
        self.batches.append((len(batch), threads))
        assert self.open.wait(10)
        return -np.abs(np.arange(CLASSES, dtype=np.float32)[None] - batch[:, 0, 0, :1])


@pytest.fixture
def network():
    return Sorter()


@pytest.fixture
def make(network):
    made = []

    def stages(cores=2, size=8, queue=100):
        classifier = ImageClassifier(
            network, tuple(map(str, range(CLASSES))), top_k=2, limits=Limits(max_image_bytes=10**6, max_image_side=100)
        )
        made.append(Stages(classifier, BatchLimits(size, queue), cores))
        return made[-1]

    yield stages
    network.open.set()
    for one in made:
        one.close()


def images(*classes):
    tensor = np.empty((len(classes), 3, 4, 4), dtype=np.float32)
    tensor[:] = np.array(classes, dtype=np.float32)[:, None, None, None]
    return lambda: PreparedImages(tensor)


def slow(decoded):
    """An image of the first class, whose decoding ends when `decoded` is set."""

    def come():
        assert decoded.wait(10)
        return images(1)()

    return come


def best(classification):
    return classification.class_id[:, 0].tolist()


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def test_a_lone_image_gets_all_cores(make, network):
    assert best(await make().classify(images(5))) == [5]
    assert network.batches == [(1, 2)]


async def test_a_lone_image_passes_all_stages_in_one_thread_and_counts_as_a_batch(make, network, monkeypatch):
    stages, threads, seen = make(), [], []
    stages.batcher.observe = lambda rows, waited_s, run_s, items: seen.append((rows, items, run_s > 0))
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda *a: threads.append(threading.current_thread()) or forward(*a))

    def here():
        threads.append(threading.current_thread())
        return images(5)()

    assert best(await stages.classify(here)) == [5]
    assert len(set(threads)) == 1
    await until(lambda: seen)
    assert seen == [(1, 1, True)]
    assert stages.batcher.running == 0


async def test_a_lone_image_that_gets_company_before_its_forward_pass_queues_with_it(make, network):
    stages, decoded = make(cores=1), threading.Event()

    network.open.clear()
    first = asyncio.ensure_future(stages.classify(slow(decoded)))
    await until(lambda: stages.batcher.running)
    second = asyncio.ensure_future(stages.classify(images(2)))
    await until(lambda: stages._inside == 2)
    decoded.set()
    network.open.set()
    assert [best(await first), best(await second)] == [[1], [2]]
    assert sum(rows for rows, _ in network.batches) == 2
    assert {threads for _, threads in network.batches} == {1}


@pytest.mark.parametrize("cores", [1, 2])
async def test_nobody_waits_for_what_a_lone_image_does_before_its_forward_pass(make, cores):
    stages, decoded = make(cores=cores), threading.Event()
    stages.batcher.resize(1)

    first = asyncio.ensure_future(stages.classify(slow(decoded)))
    await until(lambda: stages.batcher.running)
    assert best(await stages.classify(images(2))) == [2]
    assert stages.batcher.running == 0
    decoded.set()
    assert best(await first) == [1]


async def test_a_lone_image_whose_caller_goes_while_it_is_decoded_is_not_computed(make, network):
    stages, decoded = make(), threading.Event()

    call = asyncio.ensure_future(stages.classify(slow(decoded)))
    await until(lambda: stages.batcher.running)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert stages.batcher.running == 1, "the thread is still at work"
    decoded.set()
    await until(lambda: stages.batcher.running == 0)
    assert network.batches == []
    assert best(await stages.classify(images(3))) == [3]


async def test_nobody_waits_for_an_image_that_is_still_decoded_for_a_caller_who_has_gone(make):
    stages, decoded = make(), threading.Event()

    call = asyncio.ensure_future(stages.classify(slow(decoded)))
    await until(lambda: stages.batcher.running)
    assert best(await stages.classify(images(2))) == [2]  # beside whom it counts as no batch any more
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert best(await asyncio.wait_for(stages.classify(images(3)), 5)) == [3]
    decoded.set()


async def test_each_request_gets_its_own_images_in_their_order(make):
    stages = make(size=3)
    asked = [[1, 2, 3, 4, 5], [6], [7, 8], [9] * 7, [10]]
    answers = await asyncio.gather(*(stages.classify(images(*classes)) for classes in asked))
    assert [best(answer) for answer in answers] == asked


async def test_when_images_abound_each_pass_has_a_core_and_no_pass_too_many_rows(make, network):
    stages = make(size=3)
    network.open.clear()
    calls = [asyncio.ensure_future(stages.classify(images(number))) for number in range(12)]
    await until(lambda: len(network.batches) == 2 and stages.batcher.waiting)
    network.open.set()
    assert [best(await call) for call in calls] == [[number] for number in range(12)]
    assert max(rows for rows, _ in network.batches) <= 3
    assert {threads for rows, threads in network.batches[1:-1]} == {1}


@pytest.mark.parametrize("comes", [True, False], ids=["it comes", "it cannot be read"])
async def test_while_the_only_core_decodes_another_image_a_batch_waits_for_it(make, network, comes):
    stages, decoded = make(cores=1), threading.Event()

    def slow():
        assert decoded.wait(10)
        return images(2)() if comes else EncodedImages((b"no image",))

    calls = [asyncio.ensure_future(stages.classify(one)) for one in (images(1), slow)]
    await until(lambda: stages.batcher.waiting)
    await asyncio.sleep(0.05)
    assert network.batches == []
    decoded.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert best(answers[0]) == [1]
    assert network.batches == [(2 if comes else 1, 1)]


async def test_no_batch_waits_for_the_further_images_of_a_request(make, network, encode, monkeypatch):
    stages, decoded, small = make(cores=2), threading.Event(), encode(Image.new("RGB", (8, 8)))
    prepare = Prepare.file

    def slowly(self, data, **more):
        assert data != b"slow" or decoded.wait(10)
        return prepare(self, small, **more)

    monkeypatch.setattr(Prepare, "file", slowly)
    network.open.clear()
    others = [asyncio.ensure_future(stages.classify(images(3)))]
    await until(
        lambda: network.batches
    )  # one core has a pass to run, the other has the second image of the next request
    others.append(asyncio.ensure_future(stages.classify(lambda: EncodedImages((small, b"slow")))))
    others.append(asyncio.ensure_future(stages.classify(images(1))))
    await until(lambda: len(network.batches) == 2)
    decoded.set()
    network.open.set()
    assert [len(best(await other)) for other in others] == [1, 2, 1]


async def test_an_image_that_cannot_be_read_fails_its_own_request_alone(make):
    stages = make()
    answers = await asyncio.gather(
        stages.classify(images(1)),
        stages.classify(lambda: EncodedImages((b"no image",))),
        stages.classify(images(2)),
        return_exceptions=True,
    )
    assert [best(answers[0]), best(answers[2])] == [[1], [2]]
    assert isinstance(answers[1], ImageInvalid)


async def test_a_request_with_one_bad_image_among_good_ones_is_not_computed(make, network, encode):
    good = encode(Image.new("RGB", (8, 8)))
    with pytest.raises(ImageInvalid, match="image 1"):
        await make().classify(lambda: EncodedImages((good, b"bad", good)))
    assert not network.batches


async def test_who_goes_while_waiting_is_not_computed(make, network):
    stages = make(cores=1, size=1)
    network.open.clear()
    first = asyncio.ensure_future(stages.classify(images(1)))
    await until(lambda: network.batches)
    gone, stays = (asyncio.ensure_future(stages.classify(images(number, number))) for number in (2, 3))
    await until(lambda: stages.batcher.waiting == 4)
    gone.cancel()
    network.open.set()
    assert [best(await one) for one in (first, stays)] == [[1], [3, 3]]
    assert len(network.batches) == 3
    assert not stages._inside


async def test_a_full_queue_refuses_before_it_decodes(make, network):
    stages = make(cores=1, size=1, queue=1)
    network.open.clear()
    inside = [asyncio.ensure_future(stages.classify(images(number))) for number in (1, 2)]
    await until(lambda: network.batches and stages._inside == 2)
    with pytest.raises(Overloaded):
        await stages.classify(lambda: pytest.fail("decoded"))
    network.open.set()
    assert [best(await one) for one in inside] == [[1], [2]]
    assert best(await stages.classify(images(3))) == [3]


async def test_the_split_is_measured_when_nobody_waits(make, network):
    stages = make()
    await stages.tune()
    assert stages.split.rows_per_s > 0
    assert best(await stages.classify(images(4))) == [4]


async def test_a_request_with_more_images_than_may_wait_is_served_when_nobody_else_is_there(make):
    stages = make(size=2, queue=1)
    classes = [number % CLASSES for number in range(30)]
    assert best(await stages.classify(images(*classes))) == classes
    assert not stages._inside


class Looking:
    """Gives attention of 3 tokens beside; each image has 9 weights, each head's would be 18."""

    tokens = Tokens(layers=1, heads=2, class_token=True, registers=0, grid=(1, 2))

    def __init__(self, network):
        self.network = network

    def run(self, batch, wanted, threads=None):
        weights = np.full((len(batch), 1, 3, 3), 1 / 3, np.float32)
        return Inspected(self.network.forward(batch, threads), None, weights)


LOOKED = Asked(attention=Attention())


@pytest.fixture
def looking(make, network):
    stages = make(cores=4)  # further images are decoded while passes are held up
    stages._classifier.inspect = Looking(network)
    stages._attention = Room(30)
    return stages


async def test_attention_for_which_others_leave_no_room_is_refused_until_they_have_their_answers(looking, network):
    network.open.clear()
    others = [asyncio.create_task(looking.classify(images(one), asked=LOOKED)) for one in (1, 2, 3)]
    await until(lambda: looking._attention._taken == 27)
    with pytest.raises(Overloaded, match="27 attention weights of other requests are in work; try again"):
        await looking.classify(images(4), asked=LOOKED)
    usual = asyncio.create_task(looking.classify(images(5)))  # which has none, and is not concerned
    network.open.set()
    assert best(await usual) == [5]
    answers = await asyncio.gather(*others)
    assert [best(answer) for answer in answers] == [[1], [2], [3]]
    with pytest.raises(Overloaded):  # the answers are still to be encoded
        await looking.classify(images(4), asked=LOOKED)
    del others
    views = [answer.attention.reshape(-1) for answer in answers]
    del answers
    with pytest.raises(Overloaded):  # and now to be sent
        await looking.classify(images(4), asked=LOOKED)
    del views
    assert best(await looking.classify(images(4), asked=LOOKED)) == [4]


async def test_requests_that_fail_or_draw_only_leave_no_attention_behind(looking):
    photo = io.BytesIO()
    Image.new("RGB", (4, 4)).save(photo, "PNG")

    def broken():
        return EncodedImages((photo.getvalue(), b"no image"))

    for _ in range(5):
        with pytest.raises(ImageInvalid):
            await looking.classify(broken, asked=LOOKED)
        found = await looking.classify(images(1), asked=Asked(attention=Attention(numbers=False, overlay=True)))
        assert found.overlay is not None
    assert len((await looking.classify(images(1, 2, 3), asked=LOOKED)).attention) == 3
