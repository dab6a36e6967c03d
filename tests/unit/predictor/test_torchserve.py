"""What is written for a TorchServe and packed for it; that it runs, and is closed, is in tests/e2e."""

import io
import json
import stat
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.servers import program

from moorage.api.exit_codes import ExitCode
from moorage.api.predictor import PredictorSettings
from moorage_predictor.errors import LoadFailed, ModelUnavailable
from moorage_predictor.tasks.torchserve import FAILURE_FILE, archive, configuration
from moorage_predictor.tasks.torchserve.connection import Connection
from moorage_predictor.tasks.torchserve.handler import Handler
from moorage_predictor.tasks.torchserve.load import load


def settings(**more) -> PredictorSettings:
    usual = {"model_name": "cats", "model_version": "7", "task": "image-classification", "model_dir": "/mnt/models"}
    return PredictorSettings(**{**usual, "runtime": "torchserve", **more})


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network with its labels."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    save_file(timm.create_model("test_resnet", num_classes=3).state_dict(), folder / "model.safetensors")
    pretrained = {"input_size": [3, 32, 32], "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 1.0}
    config = {"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": pretrained}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def packed(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    work = folder / "work"
    work.mkdir()
    return archive.pack(weights, settings(top_k=2), work, folder / "store")


def properties(layout, **more) -> dict[str, str]:
    text = configuration.properties(layout, settings(**more), Path("cats.mar"))
    return dict(line.split("=", 1) for line in text.splitlines())


def test_the_archive_has_the_weights_what_lies_beside_them_and_what_the_handler_must_know(packed):
    with zipfile.ZipFile(packed) as found:
        names = set(found.namelist())
        assert {"model.safetensors", "config.json", "labels.txt", "handler.py", archive.SETTINGS_FILE} <= names
        manifest = json.loads(found.read("MAR-INF/MANIFEST.json"))
        assert json.loads(found.read(archive.SETTINGS_FILE)) == {
            "model_name": "cats",
            "task": "image-classification",
            "top_k": 2,
            "max_image_bytes": 10 * 1024 * 1024,
            "max_image_side": 4096,
        }
    assert (manifest["model"]["modelName"], manifest["model"]["modelVersion"]) == ("cats", "7")
    assert stat.S_IMODE(packed.stat().st_mode) == 0o400
    assert stat.S_IMODE(packed.parent.stat().st_mode) == 0o500


def test_what_cannot_be_packed_is_told_with_the_archivers_words(tmp_path):
    with pytest.raises(LoadFailed, match=r"torch-model-archiver failed: FileNotFoundError.*nothing\.safetensors"):
        archive.pack(tmp_path / "nothing.safetensors", settings(), tmp_path, tmp_path / "store")


def test_nothing_is_open_and_no_model_can_be_added(tmp_path):
    found = properties(configuration.Layout(tmp_path))
    for name in ("inference", "management", "metrics"):
        assert found[f"{name}_address"].startswith(f"unix:{tmp_path}/work/")
    for name in ("inference", "management"):
        assert (found[f"grpc_{name}_address"], found[f"grpc_{name}_port"]) == ("127.0.0.1", "0")
    for name in (
        "disable_token_authorization",
        "enable_model_api",
        "enable_metrics_api",
        "enable_envvars_config",
        "use_env_allowed_urls",
        "install_py_dep_per_model",
    ):
        assert found[name] == "false"
    assert found["allowed_urls"] == "file:///nowhere"


def test_the_model_has_the_time_that_a_forward_pass_has(tmp_path):
    for seconds, expected in ((7.0, 7), (0.0, 86_400)):
        models = json.loads(properties(configuration.Layout(tmp_path), forward_timeout_s=seconds)["models"])
        assert models["cats"]["7"]["responseTimeout"] == expected


def test_its_files_are_read_only_and_a_path_too_long_for_a_socket_is_told(tmp_path):
    layout = configuration.Layout(tmp_path)
    if len(str(layout.socket)) < 100:
        configuration.write(layout, settings(), Path("cats.mar"))
        paths = [layout.read_only, *layout.read_only.iterdir()]
        assert [oct(path.stat().st_mode & 0o222) for path in paths] == ["0o0"] * 3
    with pytest.raises(LoadFailed, match="set TMPDIR to a shorter one"):
        configuration.write(configuration.Layout(tmp_path / ("x" * 90)), settings(), Path("cats.mar"))


def test_a_load_that_fails_leaves_no_copy_of_the_weights(weights, tmp_path, monkeypatch):
    program("java")
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(LoadFailed, match="set TMPDIR to a shorter one"):
        load(settings(model_dir=str(weights.parent)), weights.parent, lambda step: None, threading.Event())
    assert not list(long.iterdir())


def test_its_folder_can_be_removed_although_parts_of_it_are_read_only(tmp_path):
    layout = configuration.Layout(tmp_path / "ts")
    for folder in (layout.store, layout.read_only):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"weights")
        folder.chmod(0o500)
    layout.remove()
    assert not layout.folder.exists()
    layout.remove()


def test_its_environment_has_no_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("TS_CONFIG_FILE", "/tmp/other.properties")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = configuration.environment(configuration.Layout(tmp_path))
    assert not {"AWS_SECRET_ACCESS_KEY", "TS_CONFIG_FILE"} & found.keys()
    assert (found["OMP_NUM_THREADS"], found["HOME"]) == ("1", str(tmp_path / "work"))


def test_a_machine_without_java_or_without_torchserve_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(configuration, "find_spec", lambda name: None)
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(configuration.NotInstalled, match=r"needs Java 17.*apt-get install") as caught:
        configuration.java()
    assert caught.value.exit_code == ExitCode.UNAVAILABLE
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setattr(configuration.shutil, "which", lambda name: "/usr/bin/java")
    with pytest.raises(configuration.NotInstalled, match=r"needs ts and model_archiver: pip install 'moorage\[torch"):
        configuration.java()


class Context:
    def __init__(self, folder):
        self.system_properties = {"model_dir": str(folder)}


@pytest.fixture(scope="module")
def handler(packed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(packed) as found:
        found.extractall(folder)
    made = Handler()
    made.initialize(Context(folder))
    return made


def ask(handler, body: bytes):
    [answer] = handler.handle([{"body": bytearray(body)}], None)
    return answer


def test_the_handler_describes_its_network_and_gives_logits_of_rows(handler):
    described = json.loads(ask(handler, b'{"describe":true}\n'))
    assert (described["num_classes"], described["names"]) == (3, ["red", "green", "blue"])
    assert described["data"]["input_size"] == [3, 32, 32]
    rows = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
    head = json.dumps({"shape": rows.shape, "threads": 1}).encode()
    logits = np.frombuffer(ask(handler, head + b"\n" + rows.tobytes()), "<f4").reshape(2, 3)
    alone = np.frombuffer(
        ask(handler, json.dumps({"shape": [1, 3, 32, 32], "threads": None}).encode() + b"\n" + rows[:1].tobytes()),
        "<f4",
    )
    assert np.allclose(logits[0], alone, atol=1e-5)


def test_the_handler_also_answers_torchserves_own_clients_with_a_photo(handler):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (230, 40, 30)).save(file, "PNG")
    best = ask(handler, file.getvalue())
    assert len(best) == 2
    assert set(best) <= {"red", "green", "blue"}
    assert "not an image" in ask(handler, b"no photo")["error"]


def test_the_handler_leaves_the_reason_why_it_cannot_load(tmp_path, monkeypatch):
    monkeypatch.setenv(FAILURE_FILE, str(tmp_path / "failure.txt"))
    stated = archive.stated_by(settings(architecture="timm/test_resnet"))
    (tmp_path / archive.SETTINGS_FILE).write_text(json.dumps(stated))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(LoadFailed):
        Handler().initialize(Context(tmp_path))
    assert "model.safetensors" in (tmp_path / "failure.txt").read_text()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # httpcore forgets a Unix socket that finds nobody
def test_a_torchserve_that_is_not_there_is_unavailable(tmp_path):
    connection = Connection(tmp_path / "i.sock", "token", "cats", 1.0)
    with pytest.raises(ModelUnavailable, match="is being started again"):
        connection.forward(np.zeros((1, 3, 2, 2), np.float32), None)
    assert connection.healthy(1.0) is None
    connection.close()
    with pytest.raises(ModelUnavailable):
        connection.forward(np.zeros((1, 3, 2, 2), np.float32), None)
