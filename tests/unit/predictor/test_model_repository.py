"""Many models of one folder: which version answers, when one is loaded, what changes while the server runs."""

import asyncio
import itertools
import threading

import httpx
import numpy as np
import pytest
from kserve import InferOutput, InferResponse
from prometheus_client import CollectorRegistry
from tests.unit.predictor.served import Echo

from moorage.api.limits import RequestLimits
from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import InvalidInput, LoadFailed, ModelLoadFailed, NotFound
from moorage_predictor.metrics import Metrics
from moorage_predictor.wire.http.app import App
from moorage_predictor.wire.model_repository import ModelRepository


class Versioned(Echo):
    """Says which version it is, whatever it is asked."""

    def __init__(self, name, version):
        super().__init__(name)
        self.version = version

    def predict(self, payload, headers=None):
        return {"predictions": [f"{self.name}/{self.version}"]}


class Folder:
    """A model repository on disk, and the application on it. A file `broken` cannot be loaded."""

    def __init__(self, root):
        self.root = root
        self.loaded = []
        self.go = threading.Event()
        self.go.set()

    def put(self, name, *versions, text="weights"):
        for version in versions:
            folder = self.root / name / version
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "weights").write_text(text)

    def remove(self, name, version):
        (self.root / name / version).rename(self.root / f".{name}-{version}")

    def open(self, **options):
        settings = PredictorSettings(
            task="image-classification", model_repository=str(self.root), **{"repository_poll_s": 1, **options}
        )
        self.metrics = Metrics(CollectorRegistry())
        self.repository = ModelRepository(settings, self.metrics, {"max_pending": 50, "platform": "test"}, self._load)
        app = App(self.repository, self.metrics, RequestLimits(), control=True)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://test")
        return self

    def _load(self, settings):
        self.go.wait(10)
        self.loaded.append(f"{settings.model_name}/{settings.model_version}")
        if (text := (self.root / settings.model_name / settings.model_version / "weights").read_text()) == "broken":
            raise LoadFailed("/secret/file", f"cannot be read: {self.root}/weights: '/etc/x' of timm/resnet18")
        if text == "bug":
            raise RuntimeError("/secret/path")
        return Versioned(settings.model_name, settings.model_version)

    async def ask(self, name, version=""):
        """Who answered, or the error's code."""
        path = f"/v1/models/{name}:predict" if not version else f"/v2/models/{name}/versions/{version}/infer"
        body = {"instances": [1], "inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}]}
        if not version:
            del body["inputs"]
        answer = await self.client.post(path, json=body)
        return answer.json()["predictions"][0] if answer.status_code == 200 else answer.json()["code"]

    async def look_twice(self):
        await self.repository.look()
        await self.repository.look()

    def index(self):
        return {f"{row['name']}/{row['version']}": row["state"] for row in self.repository.index(only_ready=False)}


@pytest.fixture
async def folder(tmp_path):
    made = Folder(tmp_path)
    yield made
    made.go.set()
    for served in made.repository:
        await served.unload()
    await asyncio.gather(*made.repository._leaving)


async def test_a_model_is_loaded_when_it_is_first_asked_for(folder):
    folder.put("cats", "1")
    folder.put("dogs", "1")
    folder.open()
    assert await folder.repository.is_ready()  # nothing must be there at once
    assert folder.loaded == []
    assert (await folder.client.get("/v2/models/cats/ready")).status_code == 503
    assert await folder.ask("cats") == "cats/1"
    assert await folder.ask("cats") == "cats/1"
    assert folder.loaded == ["cats/1"]
    assert (await folder.client.get("/v2/models/cats/ready")).status_code == 200
    assert folder.index() == {"cats/1": "READY", "dogs/1": "UNAVAILABLE"}


async def test_versions_stand_side_by_side_and_none_named_is_the_newest(folder):
    folder.put("cats", "9", "10", "2")
    folder.open()
    assert await folder.ask("cats", "2") == "cats/2"
    assert await folder.ask("cats") == "cats/10"
    assert await folder.ask("cats", "9") == "cats/9"
    assert await folder.ask("cats", "3") == "NOT_FOUND"
    assert (await folder.client.get("/v2/models/cats")).json()["versions"] == ["2", "9", "10"]
    assert (await folder.client.get("/v2/models/cats/config")).json()["version_policy"] == {"all": {}}
    stats = (await folder.client.get("/v2/models/cats/stats")).json()["model_stats"]
    assert [(one["version"], one["inference_stats"]["success"]["count"]) for one in stats] == [
        ("2", 1),
        ("9", 1),
        ("10", 1),
    ]
    with pytest.raises(NotFound, match="the model cats has no version '3'; it has 2, 9, 10"):
        folder.repository.find("cats", "3")


async def test_metrics_tell_versions_apart_and_forget_those_that_are_gone(folder):
    folder.put("cats", "1", "2")
    folder.open()
    await folder.ask("cats")
    text = (await folder.client.get("/metrics")).text
    assert 'moorage_requests_total{code="200",model="cats",protocol="v1",version="2"} 1.0' in text
    assert 'moorage_model_loads_total{model="cats",outcome="loaded",version="2"} 1.0' in text
    assert 'moorage_model_ready{model="cats",version="1"} 0.0' in text
    folder.remove("cats", "1")
    await folder.look_twice()
    await asyncio.gather(*folder.repository._leaving)
    assert 'version="1"' not in (await folder.client.get("/metrics")).text


async def test_preloaded_models_make_the_process_ready(folder):
    folder.put("cats", "1", "2")
    folder.put("dogs", "1")
    folder.open(preload=("cats",))
    assert not await folder.repository.is_ready()
    await folder.repository.preload()
    assert await folder.repository.is_ready()
    assert folder.loaded == ["cats/2"]


async def test_all_are_preloaded_if_they_may_be(folder):
    folder.put("cats", "1")
    folder.put("dogs", "1")
    await folder.open(preload=("all",)).repository.preload()
    assert folder.loaded == ["cats/1", "dogs/1"]
    with pytest.raises(LoadFailed, match=r"--preload: expected at most 1 \(--max-models\), found 2"):
        Folder(folder.root).open(preload=("all",), max_models=1)
    with pytest.raises(LoadFailed, match="--preload=mice: no such model in"):
        Folder(folder.root).open(preload=("mice",))


async def test_a_preloaded_model_that_does_not_load_leaves_the_process_alive_and_not_ready(folder):
    folder.put("cats", "1", text="broken")
    await folder.open(preload=("cats",)).repository.preload()
    assert (await folder.client.get("/v2/health/live")).status_code == 200
    answer = await folder.client.get("/v2/health/ready")
    told = "the model cats was not loaded; cannot be read: …: '…' of timm/resnet18"
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "error": told, "code": "MODEL_LOAD_FAILED"})
    answer = await folder.client.get("/v2/models/cats/ready")
    assert (answer.status_code, answer.json()) == (503, {"error": told, "code": "MODEL_LOAD_FAILED"})
    assert await folder.ask("cats") == "MODEL_LOAD_FAILED"
    assert folder.loaded == ["cats/1"]


async def test_what_fails_of_itself_says_nothing_about_us(folder, caplog):
    folder.put("cats", "1", text="bug")
    folder.open()
    assert await folder.ask("cats") == "MODEL_LOAD_FAILED"
    [row] = folder.repository.index(only_ready=False)
    assert (row["state"], row["reason"]) == (
        "UNAVAILABLE",
        "it could not be loaded; the server's log has the reason",
    )


async def test_where_the_newest_does_not_load_the_next_older_one_answers(folder):
    folder.put("cats", "1")
    folder.put("cats", "2", text="broken")
    folder.open()
    assert await folder.ask("cats") == "cats/1"
    assert await folder.ask("cats", "2") == "MODEL_LOAD_FAILED"
    assert await folder.ask("cats") == "cats/1"
    assert folder.loaded == ["cats/2", "cats/1"]


async def test_a_new_version_is_loaded_beside_the_old_one_and_answers_once_it_is_warm(folder):
    folder.put("cats", "1")
    folder.open()
    assert await folder.ask("cats") == "cats/1"
    folder.put("cats", "2")
    await folder.repository.look()  # it may still be copied
    assert folder.index() == {"cats/1": "READY"}
    folder.go.clear()
    looking = asyncio.create_task(folder.repository.look())
    while folder.index().get("cats/2") != "LOADING":
        await asyncio.sleep(0.001)
    assert await folder.ask("cats") == "cats/1"
    folder.go.set()
    await looking
    assert await folder.ask("cats") == "cats/2"
    assert await folder.ask("cats", "1") == "cats/1"


async def test_a_version_that_is_still_copied_waits(folder):
    folder.put("cats", "1")
    folder.open()
    await folder.ask("cats")
    for size in range(5):
        folder.put("cats", "2", text="w" * size)
        await folder.repository.look()
    assert folder.index() == {"cats/1": "READY"}
    await folder.repository.look()
    assert folder.index() == {"cats/1": "READY", "cats/2": "READY"}


async def test_a_new_version_that_does_not_load_leaves_the_old_one_until_its_files_change(folder):
    folder.put("cats", "1")
    folder.open()
    await folder.ask("cats")
    folder.put("cats", "2", text="broken")
    await folder.look_twice()
    assert folder.index() == {"cats/1": "READY", "cats/2": "UNAVAILABLE"}
    assert await folder.ask("cats") == "cats/1"
    assert await folder.repository.is_ready()
    await folder.look_twice()
    assert folder.loaded == ["cats/1", "cats/2"]
    folder.put("cats", "2", text="mended")
    await folder.look_twice()
    assert await folder.ask("cats") == "cats/2"


async def test_a_version_whose_files_change_is_loaded_anew(folder):
    folder.put("cats", "1")
    folder.open()
    await folder.ask("cats")
    before = folder.repository.find("cats").pipeline
    folder.put("cats", "1", text="others")
    await folder.look_twice()
    assert folder.loaded == ["cats/1", "cats/1"]
    assert folder.repository.find("cats").pipeline is not before


async def test_a_version_that_goes_gives_back_to_the_older_one(folder):
    folder.put("cats", "1", "2")
    folder.open()
    assert await folder.ask("cats") == "cats/2"
    folder.remove("cats", "2")
    await folder.repository.look()
    assert await folder.ask("cats") == "cats/2"  # a file system may fail for a moment
    await folder.repository.look()
    assert await folder.ask("cats") == "cats/1"
    assert await folder.ask("cats", "2") == "NOT_FOUND"
    folder.remove("cats", "1")
    await folder.look_twice()
    assert await folder.ask("cats") == "NOT_FOUND"


async def test_a_folder_that_cannot_be_read_takes_nothing_away(folder, caplog):
    folder.put("cats", "1")
    folder.open(repository_poll_s=0.001)
    await folder.ask("cats")
    away = folder.root.with_name("away")
    folder.root.rename(away)
    polling = asyncio.create_task(folder.repository.poll())
    while "was not looked through" not in caplog.text:
        await asyncio.sleep(0.001)
    away.rename(folder.root)
    assert await folder.ask("cats") == "cats/1"
    polling.cancel()


async def test_a_caller_who_loads_says_that_it_is_there(folder):
    folder.put("cats", "1")
    folder.open(repository_poll_s=0)
    await folder.ask("cats")
    folder.put("cats", "2")
    folder.put("dogs", "1")
    answer = await folder.client.post("/v2/repository/models/cats/load")
    assert answer.json() == {"name": "cats", "load": True}
    assert await folder.ask("cats") == "cats/2"
    await folder.repository.load("dogs")
    assert folder.index() == {"cats/1": "READY", "cats/2": "READY", "dogs/1": "READY"}
    with pytest.raises(NotFound):
        await folder.repository.load("mice")
    with pytest.raises(NotFound):
        await folder.repository.load("../mice")


async def test_a_load_of_the_newest_swaps_it(folder):
    folder.put("cats", "1")
    folder.open()
    await folder.repository.load("cats")
    await folder.repository.load("cats")
    assert folder.loaded == ["cats/1", "cats/1"]
    folder.put("cats", "1", text="broken")
    with pytest.raises(InvalidInput, match="the model cats was not loaded"):
        await folder.repository.load("cats")
    assert await folder.ask("cats") == "cats/1"


async def test_what_a_caller_unloaded_stays_away_until_it_is_loaded(folder):
    folder.put("cats", "1", "2")
    folder.open()
    await folder.ask("cats")
    await folder.ask("cats", "1")
    await folder.client.post("/v2/repository/models/cats/unload")
    assert folder.index() == {"cats/1": "UNAVAILABLE", "cats/2": "UNAVAILABLE"}
    assert [await folder.ask("cats"), await folder.ask("cats", "1")] == ["NOT_FOUND", "NOT_FOUND"]
    await folder.look_twice()
    assert folder.index() == {"cats/1": "UNAVAILABLE", "cats/2": "UNAVAILABLE"}
    await folder.repository.load("cats")
    assert [await folder.ask("cats"), await folder.ask("cats", "1")] == ["cats/2", "cats/1"]


@pytest.mark.parametrize("preload", [(), ("cats",)])
async def test_a_version_that_comes_to_an_unloaded_model_stays_away_as_well(folder, preload):
    folder.put("cats", "1")
    folder.open(preload=preload)
    await folder.ask("cats")
    await folder.client.post("/v2/repository/models/cats/unload")
    folder.put("cats", "2")
    await folder.look_twice()
    assert folder.index() == {"cats/1": "UNAVAILABLE", "cats/2": "UNAVAILABLE"}
    assert [await folder.ask("cats"), await folder.ask("cats", "2")] == ["NOT_FOUND", "NOT_FOUND"]
    assert folder.loaded == ["cats/1"]
    assert await folder.repository.is_ready()
    await folder.client.post("/v2/repository/models/cats/load")
    assert [await folder.ask("cats"), await folder.ask("cats", "1")] == ["cats/2", "cats/1"]
    folder.put("cats", "3")
    await folder.look_twice()
    assert await folder.ask("cats") == "cats/3"


async def test_an_unloaded_model_stays_away_when_its_folder_goes_and_comes_back(folder):
    folder.put("cats", "1")
    folder.put("dogs", "1")
    folder.open()
    await folder.client.post("/v2/repository/models/cats/unload")
    folder.remove("cats", "1")
    await folder.look_twice()
    folder.put("cats", "1")
    await folder.look_twice()
    assert [await folder.ask("cats"), await folder.ask("dogs")] == ["NOT_FOUND", "dogs/1"]


async def test_a_broken_version_that_was_unloaded_stays_away_when_its_files_change(folder):
    folder.put("cats", "1", text="broken")
    folder.open()
    assert await folder.ask("cats") == "MODEL_LOAD_FAILED"
    await folder.client.post("/v2/repository/models/cats/unload")
    folder.put("cats", "1", text="mended weights")
    await folder.look_twice()
    assert await folder.ask("cats") == "MODEL_LOAD_FAILED"
    assert folder.loaded == ["cats/1"]  # it was not tried again
    await folder.repository.load("cats")
    assert await folder.ask("cats") == "cats/1"


async def test_the_newest_stays_the_newest_when_it_had_to_make_room(folder):
    folder.put("cats", "1", "2")
    folder.put("dogs", "1")
    folder.open(max_models=2)
    assert await folder.ask("cats") == "cats/2"
    assert await folder.ask("cats", "1") == "cats/1"
    assert await folder.ask("dogs") == "dogs/1"
    assert folder.index() == {"cats/1": "READY", "cats/2": "UNAVAILABLE", "dogs/1": "READY"}
    assert await folder.ask("cats") == "cats/2"


async def test_with_room_for_one_the_new_version_takes_the_place_of_the_old(folder):
    folder.put("cats", "1")
    folder.open(max_models=1)
    await folder.ask("cats")
    folder.put("cats", "2")
    await folder.look_twice()
    assert await folder.ask("cats") == "cats/2"
    assert folder.index() == {"cats/1": "UNAVAILABLE", "cats/2": "READY"}


async def test_a_model_larger_than_all_room_is_refused_and_nobody_leaves_for_it(folder):
    folder.put("cats", "1", text="small")
    folder.put("dogs", "1", text="much too large")
    folder.open(max_models_bytes=10)
    await folder.ask("cats")
    with pytest.raises(ModelLoadFailed, match=r"dogs .*; expected at most 10 bytes \(--max-models-bytes\), found 14"):
        await folder.repository.route("dogs").wake(None)
    assert folder.index() == {"cats/1": "READY", "dogs/1": "UNAVAILABLE"}


async def test_files_are_compared_with_their_checksums_first(folder):
    folder.put("cats", "1")
    (folder.root / "cats" / "1" / "SHA256SUMS").write_text(f"{'0' * 64}  weights\n")
    folder.open()
    with pytest.raises(ModelLoadFailed, match="weights: sha256: expected 0000"):
        await folder.repository.route("cats").wake(None)
    assert folder.loaded == []


async def test_a_link_that_leaves_the_folder_later_is_refused_as_well(folder, tmp_path):
    folder.put("cats", "1")
    folder.open()
    outside = tmp_path.with_name("outside")
    outside.mkdir()
    (outside / "weights").write_text("secret")
    (folder.root / "cats" / "1" / "weights").unlink()
    (folder.root / "cats" / "1" / "weights").symlink_to(outside / "weights")
    assert await folder.ask("cats") == "MODEL_LOAD_FAILED"
    assert folder.loaded == []


async def test_a_deadline_ends_the_wait_and_not_the_load(folder):
    folder.put("cats", "1")
    folder.open()
    folder.go.clear()
    answer = await folder.client.post(
        "/v1/models/cats:predict", json={"instances": [1]}, headers={"x-request-timeout": "0.01"}
    )
    assert (answer.status_code, answer.json()["code"]) == (504, "DEADLINE_EXCEEDED")
    folder.go.set()
    assert await folder.ask("cats") == "cats/1"
    assert folder.loaded == ["cats/1"]


async def test_while_the_server_stops_nothing_is_loaded(folder):
    folder.put("cats", "1")
    folder.open()
    folder.repository.drain()
    assert await folder.ask("cats") == "MODEL_NOT_READY"
    assert not await folder.repository.is_ready()
    assert folder.loaded == []


async def test_what_is_left_out_is_told_once(folder, caplog):
    folder.put("cats", "1")
    (folder.root / "readme.txt").write_text("")
    folder.open()
    await folder.look_twice()
    assert [record.path for record in caplog.records if "left out" in record.message] == ["readme.txt"]


class Labelled(Echo):
    """Names its classes after the load that made it, and answers once `go` is set."""

    def __init__(self, name, load, go):
        super().__init__(name)
        self._load, self._go = load, go

    def labels(self, output):
        return (f"cold, load {self._load}", f"warm, load {self._load}")

    def predict(self, payload, headers=None):
        self._go.wait(10)
        return InferResponse(payload.id, self.name, [InferOutput("y", [1, 2], "FP32", np.array([[1, 2]], np.float32))])


@pytest.mark.parametrize("meanwhile", ["load", "unload"])
async def test_an_answer_has_the_class_names_of_the_model_that_gave_it(folder, monkeypatch, meanwhile):
    """Also when the version is loaded anew, or unloaded, while the answer is made."""
    folder.put("cats", "1")
    go, loads = threading.Event(), itertools.count(1)
    folder.open()
    monkeypatch.setattr(folder.repository, "_load", lambda settings: Labelled("cats", next(loads), go))
    await folder.repository.load("cats")
    body = {
        "inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}],
        "outputs": [{"name": "y", "parameters": {"classification": 1}}],
    }
    asked = asyncio.create_task(folder.client.post("/v2/models/cats/infer", json=body))
    while not folder.repository.pending:
        await asyncio.sleep(0.001)
    changing = asyncio.create_task(getattr(folder.repository, meanwhile)("cats"))
    while folder.repository.find("cats").described.labels("y") == ("cold, load 1", "warm, load 1"):
        await asyncio.sleep(0.001)
    go.set()
    assert (await asked).json()["outputs"][0]["data"] == ["2.000000:1:warm, load 1"]
    await changing
