"""Who leaves memory for whom."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.predictor.served import Echo

from moorage.api import metrics as m
from moorage_predictor.errors import LoadFailed, ModelLoadFailed, Overloaded
from moorage_predictor.storage.versions import VersionFolder
from moorage_predictor.wire.on_demand import OnDemand
from moorage_predictor.wire.residence import Residence, Resident, victims

residents = st.lists(
    st.builds(
        Resident,
        key=st.uuids().map(str),
        used=st.floats(0, 1e6),
        size_bytes=st.integers(0, 100),
        idle=st.booleans(),
    ),
    unique_by=lambda one: one.key,
    max_size=12,
)
limits = {"size_bytes": st.integers(0, 100), "most": st.integers(1, 12), "most_bytes": st.integers(0, 1000)}


def fits(there, size_bytes, most, most_bytes):
    return len(there) < most and sum(one.size_bytes for one in there) + size_bytes <= most_bytes


class TestVictims:
    @given(there=residents, **limits)
    def test_whoever_leaves_is_idle_and_was_not_asked_for_the_longest(self, there, size_bytes, most, most_bytes):
        chosen = victims(there, size_bytes, most, most_bytes) or []
        assert all(one.idle for one in chosen)
        stay = [one for one in there if one.idle and one not in chosen]
        assert all(one.used <= other.used for one in chosen for other in stay)
        assert [one.used for one in chosen] == sorted(one.used for one in chosen)

    @given(there=residents, **limits)
    def test_there_is_room_afterwards_and_no_more_leave_than_must(self, there, size_bytes, most, most_bytes):
        chosen = victims(there, size_bytes, most, most_bytes)
        if chosen is None:
            assert not fits([one for one in there if not one.idle], size_bytes, most, most_bytes)
            return
        assert fits([one for one in there if one not in chosen], size_bytes, most, most_bytes)
        for last in range(len(chosen)):
            assert not fits([one for one in there if one not in chosen[:last]], size_bytes, most, most_bytes)


def counted(served, metric, *labels):
    return served.metrics.number(metric, *labels)


class Models:
    """Versions by name, what was loaded, and loads that wait until `go`."""

    def __init__(self, most, most_bytes=None, stay=()):
        self.made = {}
        self.loaded = []
        self.broken = set()
        self.go = threading.Event()
        self.go.set()
        self.residence = Residence(self.made.values, lambda one: one.name in stay, most, most_bytes)

    def model(self, name, size_bytes=1):
        if name not in self.made:
            self.made[name] = OnDemand(
                name,
                "1",
                VersionFolder(None, size_bytes, ()),
                load=self._load,
                load_in_turn=self.residence.load,
                max_pending=30,
                platform="test",
            )
        return self.made[name]

    def _load(self, served):
        self.go.wait(10)
        self.loaded.append(served.name)
        if served.name in self.broken:
            raise LoadFailed("/secret/path", "truncated", told="truncated")
        return Echo(served.name)

    async def ask(self, *names, **options):
        for name in names:
            await self.model(name, **options).wake(None)

    def there(self):
        return {name for name, one in self.made.items() if one.pipeline}


@pytest.fixture
async def models():
    made = []

    def make(*args, **options):
        made.append(Models(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.go.set()
        await asyncio.gather(*[served.unload() for served in one.made.values()])


async def test_the_one_that_was_not_asked_for_the_longest_makes_room(models):
    three = models(3)
    await three.ask("a", "b", "c")
    three.made["a"].admit()
    await three.ask("d")
    assert three.there() == {"a", "c", "d"}
    assert counted(three.made["b"], m.MODEL_EVICTIONS) == 1
    assert (three.made["b"].state, three.made["b"].reason) == (
        "UNAVAILABLE",
        "not in memory; the first request loads it",
    )
    await three.ask("b")
    assert three.there() == {"a", "b", "d"}
    assert three.loaded == ["a", "b", "c", "d", "b"]


async def test_the_bytes_of_their_files_are_bounded_too(models):
    many = models(10, most_bytes=10)
    await many.ask("a", "b", "c", size_bytes=3)
    await many.ask("d", size_bytes=5)
    assert many.there() == {"c", "d"}


async def test_a_model_in_use_stays_and_the_next_idle_one_goes(models):
    two = models(2)
    await two.ask("a", "b")
    two.made["a"].pipeline.active = 1
    await two.ask("c")
    assert two.there() == {"a", "c"}
    full = r"^the model d is not in memory, and the 2 that are there are in use; try again$"
    with two.made["c"].held(), pytest.raises(Overloaded, match=full):
        await two.ask("d")
    two.made["a"].pipeline.active = 0


async def test_one_that_stays_is_never_unloaded_for_others(models):
    two = models(2, stay=("a",))
    await two.ask("a", "b", "c", "d")
    assert two.there() == {"a", "d"}


async def test_many_first_requests_are_one_load(models):
    one = models(5)
    one.go.clear()
    waiting = [asyncio.create_task(one.ask("a")) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert one.made["a"].holders == 20
    waiting.pop().cancel()  # who leaves takes nothing from the others
    one.go.set()
    await asyncio.gather(*waiting)
    assert one.loaded == ["a"]
    assert one.made["a"].holders == 0


async def test_no_more_wait_for_a_load_than_may(models):
    one = models(5)
    one.go.clear()
    waiting = [asyncio.create_task(one.ask("a")) for _ in range(30)]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded, match="the model a has 30 requests waiting; try again"):
        await one.ask("a")
    one.go.set()
    await asyncio.gather(*waiting)


async def test_what_is_loaded_answers_while_another_is_being_loaded(models):
    one = models(5)
    await one.ask("a")
    one.go.clear()
    waiting = asyncio.create_task(one.ask("b"))
    await asyncio.sleep(0.01)
    answer, _ = await one.made["a"].admit().predict({"instances": [1]}, {})
    assert answer == {"predictions": [1]}
    assert not waiting.done()
    one.go.set()
    await waiting


async def test_a_load_that_failed_is_told_without_paths_and_not_tried_again_at_once(models):
    one = models(5)
    one.broken.add("a")
    for _ in range(3):
        with pytest.raises(ModelLoadFailed, match=r"^the model a was not loaded; truncated$"):
            await one.ask("a")
    assert one.loaded == ["a"]
    assert one.made["a"].reason == "it could not be loaded; truncated"
    assert counted(one.made["a"], m.MODEL_LOADS, "failed") == 1
    one.broken.clear()
    one.made["a"].allow()
    await one.ask("a")
    assert one.loaded == ["a", "a"]


async def test_a_version_comes_instead_of_another_when_there_is_no_room_for_both(models):
    one = models(1)
    await one.ask("a")
    one.made["a"].pipeline.active = 1
    coming = asyncio.create_task(one.residence.load(one.model("b"), one.made["a"]))
    while one.made["b"].pipeline is None:
        await asyncio.sleep(0.001)
    assert not coming.done()  # the other's request is still in work
    one.made["a"]._retiring.copy().pop().active = 0
    await coming
    assert one.there() == {"b"}


async def test_a_model_at_work_for_callers_that_have_gone_stays(models):
    one = models(1)
    await one.ask("a")
    one.made["a"].pipeline.lane._inside = 1
    with pytest.raises(Overloaded):
        await one.ask("b")
    one.made["a"].pipeline.lane._inside = 0
    await one.ask("b")
    assert one.there() == {"b"}


async def test_a_model_that_finishes_what_it_has_is_still_watched(models):
    one = models(1)
    await one.ask("a")
    leaving = one.made["a"]
    old = leaving.pipeline
    old.active = 1
    evicting = asyncio.create_task(leaving.evict())
    await asyncio.sleep(0.01)
    assert leaving.pipeline is None
    assert leaving.pipelines == [old]
    old.active = 0
    await evicting
    assert leaving.pipelines == []
