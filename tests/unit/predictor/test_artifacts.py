"""A choice that was made before is read, and never one that was made for something else."""

import errno
import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from tests.unit.predictor.mock_full_disk import fill_the_disk
from tests.unit.predictor.mock_unreadable_files import forbid

from moorage.api.exit_codes import ExitCode
from moorage.api.predictor import PredictorSettings
from moorage_predictor import optimize
from moorage_predictor.engine import artifacts, network
from moorage_predictor.engine.backends.eager import Eager
from moorage_predictor.engine.inspection import Pass
from moorage_predictor.engine.options import EngineOptions
from moorage_predictor.errors import LoadFailed, StartError

pytest.importorskip("openvino", reason="OpenVINO is not installed")


def settings(folder, **changes):
    return PredictorSettings(
        **{"task": "image-classification", "model_dir": str(folder), "engine": "openvino", **changes}
    )


@pytest.fixture(scope="module")
def optimised(tmp_path_factory, tiny_state):
    from safetensors.torch import save_file

    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    save_file(tiny_state, source / "model.safetensors")
    (source / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 10}))
    record = optimize.package(settings(source), target)
    assert (record.chosen.engine, record.chosen.precision) == ("openvino", "fp32")
    return target


@pytest.fixture
def packaged(optimised, tmp_path):
    return shutil.copytree(optimised, tmp_path / "packaged")


def loaded(folder, cache, sha256=None, choose=None, **options):
    return network.load(
        folder,
        architecture=None,
        sha256=sha256,
        report=lambda step: None,
        cancelled=threading.Event(),
        options=EngineOptions(cache_dir=cache, choose=choose, **options),
    )


def changed(folder, **changes):
    file = folder / "engine" / "engine.json"
    record = json.loads(file.read_text())
    for path, value in changes.items():
        at = record
        *outer, last = path.split("__")
        for name in outer:
            at = at[name]
        at[last] = value
    file.write_text(json.dumps(record))


def test_another_engines_network_can_be_looked_into_only_if_a_copy_is_kept(packaged, tmp_path):
    assert loaded(packaged, tmp_path).inspect is None
    served = loaded(packaged, tmp_path, features="on")
    assert served.describe()["engine"] == "openvino"
    assert (
        served.describe()["total_parameters"] == loaded(packaged, tmp_path).describe()["total_parameters"] == "306890"
    )
    batch = np.random.default_rng(1).standard_normal((2, *served.data.input_size), dtype=np.float32)
    found = served.inspect.run(batch, Pass("cls", layer=5))
    expected = served.forward(batch)
    assert np.abs(found.logits - expected).max() < 1e-5 * np.abs(expected).max()
    assert found.attention.shape == (2, 1, 101, 101)


def test_what_optimize_wrote_is_served_with_the_same_answers(packaged, tmp_path):
    served = loaded(packaged, tmp_path)
    plain = loaded(packaged, tmp_path, engine="eager")
    assert served.describe()["engine"] == "openvino"
    assert isinstance(plain.backend, Eager)
    assert (served.data, served.num_classes, served.architecture) == (plain.data, 10, "test_vit")
    batch = np.random.default_rng(1).standard_normal((3, *plain.data.input_size), dtype=np.float32)
    expected = plain.forward(batch)
    assert np.abs(served.forward(batch) - expected).max() < 1e-5 * np.abs(expected).max()


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_with_another_models_files_is_left_as_it_is(packaged, tmp_path, tiny_state):
    from safetensors.torch import save_file

    source, before = tmp_path / "source", contents(packaged)
    source.mkdir()
    save_file(tiny_state, source / "winds.safetensors")
    with pytest.raises(StartError, match=r"earlier version of this model, found config\.json, model\.safetensors"):
        optimize.package(settings(source, architecture="timm/test_vit"), packaged)
    assert contents(packaged) == before


def test_a_choice_that_fails_leaves_the_folder_as_it_is_and_makes_none(packaged, tmp_path):
    before = contents(packaged)
    for target in (packaged, tmp_path / "new"):
        with pytest.raises(StartError, match="nope"):
            optimize.package(settings(packaged, architecture="timm/nope"), target)
    assert contents(packaged) == before
    assert not (tmp_path / "new").exists()


def test_of_two_at_once_into_one_folder_the_second_is_refused_before_it_measures(packaged, tmp_path, monkeypatch):
    refused = []
    choose = optimize.choose

    def meanwhile(*words):
        if not refused:
            with pytest.raises(StartError, match="found another `moor optimize` at work") as caught:
                optimize.package(settings(packaged), tmp_path / "ready")
            refused.append(caught)
        return choose(*words)

    monkeypatch.setattr(optimize, "choose", meanwhile)
    optimize.package(settings(packaged), tmp_path / "ready")
    assert refused
    assert loaded(tmp_path / "ready", tmp_path).describe()["engine"] == "openvino"
    optimize.package(settings(packaged), tmp_path / "ready")  # the lock is gone


@pytest.mark.parametrize("fails", ["model.safetensors", "model.bin"])
def test_a_disk_that_is_full_leaves_the_folder_as_it_is(packaged, tmp_path, monkeypatch, fails):
    """Whichever file it is that has no room; and a folder that was made for it goes again."""
    source = shutil.copytree(packaged, tmp_path / "source")
    before = contents(packaged)
    fill_the_disk(monkeypatch, at=fails)
    for target in (packaged, tmp_path / "new"):
        with pytest.raises(StartError, match=r"expected a folder to write into: .*No space left on device"):
            optimize.package(settings(source), target)
    assert contents(packaged) == before
    assert not (tmp_path / "new").exists()


def test_a_disk_that_is_full_while_an_engine_is_built_is_told_and_packages_no_fallback(packaged, tmp_path, monkeypatch):
    def export(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/model.bin")

    before = contents(packaged)
    monkeypatch.setattr("moorage_predictor.engine.backends.openvino.export", export)
    for target in (packaged, tmp_path / "new"):
        with pytest.raises(StartError, match=r"^openvino fp32: .* found: OSError: .* No space left .*TMPDIR") as told:
            optimize.package(settings(packaged), target)
        assert told.value.exit_code == ExitCode.UNAVAILABLE
    assert contents(packaged) == before
    assert not (tmp_path / "new").exists()


def test_what_a_killed_process_has_left_goes(packaged):
    (packaged / ".moorage-optimize-x").mkdir()
    (packaged / ".moorage-optimize-x" / "model.safetensors").write_bytes(b"a part")
    before = set(contents(packaged)) - {".moorage-optimize-x/model.safetensors"}
    optimize.package(settings(packaged), packaged)
    assert set(contents(packaged)) == before


def test_a_new_version_of_the_same_model_takes_the_place_of_the_one_before(packaged, tmp_path):
    optimize.package(settings(packaged), packaged)
    assert loaded(packaged, tmp_path).describe()["engine"] == "openvino"


@pytest.mark.parametrize("target", ["a-file", "a-file/below", "/proc/moorage"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(packaged, tmp_path, target):
    (tmp_path / "a-file").write_text("")
    with pytest.raises(StartError, match="expected a folder to write into: "):
        optimize.package(settings(packaged), tmp_path / target)


@pytest.mark.parametrize(
    "change",
    [
        {"key__weights_sha256": "0" * 64},
        {"key__config_sha256": "0" * 64},
        {"key__cpu": "Another CPU"},
        {"key__cpu_flags_sha256": "0" * 64},
        {"key__architecture": "timm/resnet18"},
        {"versions": {"openvino": "1.0"}},
        {"format": 2},
        {"chosen__engine": "os"},
        {"chosen__precision": "bf16"},
        {"files": {"../config.json": "0" * 64}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_stale_artifact_is_not_used(packaged, tmp_path, change, caplog):
    changed(packaged, **change)
    assert isinstance(loaded(packaged, tmp_path).backend, Eager)
    assert "an engine artifact is not used" in caplog.text


def test_a_damaged_artifact_is_not_used(packaged, tmp_path):
    with (packaged / "engine" / "openvino-fp32" / "model.bin").open("r+b") as file:
        file.write(b"damaged")
    assert isinstance(loaded(packaged, tmp_path).backend, Eager)


def warnings(caplog):
    return [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("part", ["engine", "engine/engine.json", "engine/openvino-fp32/model.bin"])
def test_an_artifact_of_another_users_is_not_used_and_told_once(packaged, tmp_path, monkeypatch, caplog, part):
    forbid(monkeypatch, packaged / part)
    found = loaded(packaged, tmp_path)
    assert found.backend.describe() == {"engine": "eager", "precision": "fp32", "device": "cpu"}
    (told,) = warnings(caplog)
    assert told.getMessage() == "an engine artifact is not used"
    assert "Permission denied" in told.reason


def test_a_cache_of_another_users_is_not_used_and_told_once(model_dir, tmp_path, monkeypatch, caplog):
    def choose(weights, folder, cancelled):
        optimize.choose(settings(weights), weights, folder)

    loaded(model_dir, tmp_path / "cache", choose=choose, engine="openvino")
    caplog.clear()
    forbid(monkeypatch, tmp_path / "cache")
    found = loaded(model_dir, tmp_path / "cache", choose=choose, engine="openvino")
    assert found.describe()["engine"] == "eager"
    (told,) = warnings(caplog)
    assert told.getMessage() == "no engine could be chosen: served in fp32"
    assert "Permission denied" in told.reason


def test_a_choice_that_lacked_room_for_a_candidate_is_used_and_made_again_at_the_next_start(model_dir, tmp_path):
    calls = []

    def choose(weights, folder, cancelled):
        calls.append(folder)
        optimize.choose(settings(weights), weights, folder)
        if len(calls) == 1:
            record = json.loads((folder / "engine.json").read_text())
            record["candidates"][0] |= {"state": "dropped", "reason": "No space left on device", "untried": True}
            (folder / "engine.json").write_text(json.dumps(record))

    for made in (1, 2, 2):
        found = loaded(model_dir, tmp_path / "cache", choose=choose, engine="openvino")
        assert found.describe()["engine"] == "openvino"
        assert len(calls) == made


def test_a_cached_record_that_cannot_be_read_is_made_anew(model_dir, tmp_path):
    calls = []

    def choose(weights, folder, cancelled):
        calls.append(folder)
        optimize.choose(settings(weights), weights, folder)

    loaded(model_dir, tmp_path / "cache", choose=choose, engine="openvino")
    (record,) = (tmp_path / "cache").rglob("engine.json")
    record.unlink()
    record.mkdir()
    assert loaded(model_dir, tmp_path / "cache", choose=choose, engine="openvino").describe()["engine"] == "openvino"
    assert len(calls) == 2


def test_an_artifact_does_not_stand_for_another_precision(packaged, tmp_path):
    assert loaded(packaged, tmp_path, precision="bf16").describe()["engine"] == "eager"


def test_promised_weights_are_served_without_an_artifact_that_nobody_promised(packaged, tmp_path, caplog):
    from moorage_predictor.engine.files import sha256_of

    found = loaded(packaged, tmp_path, sha256=sha256_of(packaged / "model.safetensors"))
    assert isinstance(found.backend, Eager)
    assert "sha256 promises what runs" in caplog.text


def test_machine_code_beside_the_weights_is_never_loaded(packaged, tmp_path, caplog):
    import importlib.metadata

    changed(packaged, chosen__engine="aot", versions={"torch": importlib.metadata.version("torch")})
    assert isinstance(loaded(packaged, tmp_path).backend, Eager)
    assert "it is machine code" in caplog.text


def test_a_choice_is_made_once_and_then_read_from_the_cache(model_dir, tmp_path):
    calls = []

    def choose(weights, folder, cancelled):
        calls.append(weights)
        optimize.choose(settings(weights), weights, folder)

    for _ in range(2):
        found = loaded(model_dir, tmp_path / "cache", choose=choose, engine="openvino")
        assert found.describe()["engine"] == "openvino"
    assert calls == [model_dir / "model.safetensors"]


def test_where_no_choice_can_be_made_torch_serves_and_says_so(model_dir, tmp_path, caplog):
    from moorage_predictor.engine.backend import Unavailable

    def choose(weights, folder, cancelled):
        raise Unavailable("it failed")

    found = loaded(model_dir, tmp_path / "cache", choose=choose, precision="auto")
    assert found.backend.describe() == {"engine": "eager", "precision": "fp32", "device": "cpu"}
    assert "no engine could be chosen" in caplog.text


def test_a_stop_ends_the_choosing(model_dir, tmp_path):
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(LoadFailed, match="loading was cancelled"):
        network.load(
            model_dir,
            architecture=None,
            sha256=None,
            report=lambda step: None,
            cancelled=cancelled,
            options=EngineOptions(
                precision="int8",
                cache_dir=tmp_path,
                choose=lambda *where: optimize.run_chooser(settings(model_dir, precision="int8"), *where),
            ),
        )


def test_without_a_compiler_the_network_is_served_by_torch_as_it_is(model_dir, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    found = loaded(model_dir, tmp_path, engine="compile")
    assert found.describe()["engine"] == "eager"
    assert "not compiled: served by torch's own operators" in caplog.text


def test_who_waits_for_another_process_to_fill_the_cache_says_so(tmp_path, caplog):
    key, options = SimpleNamespace(model_dump=dict), EngineOptions(cache_dir=tmp_path)

    def fill():
        with artifacts.filling_cache(key, options):
            pass

    with ThreadPoolExecutor(1) as threads, caplog.at_level("INFO"):
        with artifacts.filling_cache(key, options):
            second = threads.submit(fill)
            while not caplog.records:
                assert not second.done()
                time.sleep(0.01)
        second.result(10)
    assert caplog.messages == ["another process chooses an engine for this model; it is waited for"]
