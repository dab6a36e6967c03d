"""Pictures of many requests through one detector: whose boxes are whose, who fails, who is refused, who is not computed."""

import asyncio
import threading

import numpy as np
import pytest

from moorage_predictor.batching import BatchLimits
from moorage_predictor.errors import ImageInvalid, InvalidInput, Overloaded
from moorage_predictor.tasks.image_classification import EncodedImages, Limits, PixelImages
from moorage_predictor.tasks.object_detection import Detections, Detector, Options
from moorage_predictor.tasks.object_detection import stages as stages_module
from moorage_predictor.tasks.object_detection.stages import Stages
from moorage_predictor.tasks.object_detection.types import Place, Prepared


class Finder:
    """Finds in a picture whose every value is c one box of class c; writes down its batches; works while `open`."""

    names = tuple(map(str, range(256)))
    most_rows = None

    def __init__(self):
        self.batches = []
        self.prepared = 0
        self.open = threading.Event()
        self.open.set()

    def prepare(self, pixels):
        self.prepared += 1
        return Prepared(pixels, pixels.shape[:2], Place(1, 1))

    def key(self, prepared, options):
        return prepared.size, options.confidence

    def forward(self, rows, threads):
        assert self.open.wait(10)
        self.batches.append(len(rows))
        assert len({self.key(*row) for row in rows}) == 1
        return [self._found(prepared) for prepared, _ in rows]

    def _found(self, prepared):
        number = int(prepared.tensor[0, 0, 0])
        return Detections(
            np.array([[0, 0, 1, 1]], np.float32), np.ones(1, np.float32), np.array([number]), prepared.size
        )


@pytest.fixture
def network():
    return Finder()


@pytest.fixture
def make(network):
    made = []

    def stages(size=4, queue=100, cores=2):
        detector = Detector(network, Options(), Limits(max_image_bytes=10**6, max_image_side=100))
        made.append(Stages(detector, BatchLimits(size, queue), cores))
        return made[-1]

    yield stages
    network.open.set()
    for one in made:
        one.close()


def pictures(*classes, side=8):
    pixels = np.empty((len(classes), side, side, 3), np.uint8)
    pixels[:] = np.array(classes)[:, None, None, None]
    return lambda: PixelImages(pixels)


async def asked(stages, images, options=None):
    found, _ = await stages.detect(images, options or Options())
    return [int(one.class_id[0]) for one in found]


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


async def test_each_request_gets_its_own_pictures_in_their_order(make, network):
    stages = make()
    requests = [[1, 2, 3, 4, 5], [6], [7, 8], [9] * 7, [10]]
    assert await asyncio.gather(*(asked(stages, pictures(*one)) for one in requests)) == requests
    assert max(network.batches) <= 4
    assert sum(network.batches) == 16


async def test_pictures_of_other_sizes_and_thresholds_share_no_pass(make, network):
    stages = make()
    network.open.clear()
    calls = [asyncio.ensure_future(asked(stages, pictures(1), Options(confidence=share))) for share in (0.1, 0.2, 0.1)]
    calls += [asyncio.ensure_future(asked(stages, pictures(2, side=side))) for side in (4, 16)]
    await until(lambda: network.prepared == 5)
    network.open.set()
    assert await asyncio.gather(*calls) == [[1], [1], [1], [2], [2]]
    assert len(network.batches) >= 4


async def test_one_bad_picture_fails_its_own_request_alone(make):
    stages = make()
    bad, good = (stages.detect(one, Options()) for one in (lambda: EncodedImages((b"no image",)), pictures(3)))
    answers = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(answers[0], ImageInvalid)
    assert str(answers[0]).startswith("image 0: ")
    assert [len(one) for one in answers[1][0]] == [1]


async def test_a_full_queue_refuses_before_anything_is_decoded(make, network):
    stages = make(size=1, queue=2)
    network.open.clear()
    calls = [asyncio.ensure_future(asked(stages, pictures(number))) for number in range(3)]
    await until(lambda: network.prepared == 3)
    with pytest.raises(Overloaded):
        await stages.detect(pictures(9), Options())
    assert network.prepared == 3
    network.open.set()
    assert await asyncio.gather(*calls) == [[0], [1], [2]]
    assert await asked(stages, pictures(*range(9))) == list(range(9))  # alone a request is never too large


async def test_a_picture_counts_until_it_is_drawn_and_others_are_decoded_meanwhile(make, network):
    stages, held = make(size=1, queue=1), threading.Event()

    def draw(inputs, index, found):
        assert held.wait(10)
        return f"picture of {found.class_id[0]}"

    calls = [asyncio.ensure_future(stages.detect(pictures(number), Options(), draw=draw)) for number in (1, 2)]
    await until(lambda: stages._drawing == 2)
    assert stages.waiting == 0
    with pytest.raises(Overloaded):
        await stages.detect(pictures(9), Options(), draw=draw)
    calls[1].cancel()
    await until(lambda: stages._drawing == 1)
    assert await asked(stages, pictures(3)) == [3]  # its decoding does not wait for the drawing
    held.set()
    assert (await calls[0])[1] == ["picture of 1"]
    assert await asked(stages, pictures(*range(5))) == list(range(5))


async def test_pictures_that_are_too_large_together_are_not_drawn(make, monkeypatch):
    monkeypatch.setattr(stages_module, "MOST_PIXELS_DRAWN", 100)
    stages = make()
    with pytest.raises(InvalidInput, match=r"^annotate: expected at most 100 pixels in one request, found 128$"):
        await stages.detect(pictures(1, 2), Options(), draw=lambda inputs, index, found: index)
    found, drawn = await stages.detect(pictures(1), Options(), draw=lambda inputs, index, found: index)
    assert (len(found), drawn) == (1, [0])


async def test_only_so_many_pictures_are_prepared_at_a_time(make, network):
    stages = make(size=2, cores=1)
    network.open.clear()
    call = asyncio.ensure_future(asked(stages, pictures(*range(40))))
    await until(lambda: network.prepared >= 5)
    await asyncio.sleep(0.05)
    assert network.prepared == 5
    network.open.set()
    assert await call == list(range(40))


async def test_who_is_cancelled_is_not_computed(make, network):
    stages = make(size=1)
    network.open.clear()
    first, gone = (asyncio.ensure_future(asked(stages, pictures(number))) for number in (1, 2))
    await until(lambda: network.prepared == 2 and stages.batcher.waiting)
    gone.cancel()
    network.open.set()
    assert await first == [1]
    assert await asked(stages, pictures(3)) == [3]
    assert len(network.batches) == 2


async def test_a_network_for_few_pictures_gets_no_more(make, network):
    network.most_rows = 1
    stages = make()
    assert await asked(stages, pictures(1, 2, 3)) == [1, 2, 3]
    assert network.batches == [1, 1, 1]
