"""`moor up` as a user runs it: one file, one command, a real photo, and every way it ends."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from PIL import Image
from tests.control_plane.process import free_ports

from moorage.cli.up import SAMPLE_PHOTO, SAMPLE_SIDE

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "manifests" / "samples" / "cat.yaml"
PATIENCE_S = 180


def environment() -> dict[str, str]:
    """Without what slows imports down, and without CI's quiet."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "CI")}


def moor(*words: str | Path, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "moorage", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env=environment())


def ports() -> list[str]:
    http, grpc = free_ports(2)
    return [f"--http-port={http}", f"--grpc-port={grpc}"]


class Up:
    """A `moor up` that keeps serving."""

    def __init__(self, *words: str | Path, ignore_sigint: bool = False) -> None:
        http, grpc = free_ports(2)
        self.url = f"http://127.0.0.1:{http}"
        command = [sys.executable, "-m", "moorage", "up", *words, f"--http-port={http}", f"--grpc-port={grpc}"]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignore_sigint else None,  # noqa: PLW1509
        )
        self.printed = ""
        for line in self.process.stdout:
            self.printed += line
            if "serving on" in line:
                break

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, self.printed + out, err


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Iterator[Up]:
    up = Up(SAMPLE, ignore_sigint=getattr(request, "param", False))
    yield up
    if up.process.poll() is None:
        up.process.terminate()
        up.process.communicate(timeout=60)


@pytest.mark.parametrize("running", [False, True], indirect=True, ids=["SIGINT as usual", "SIGINT arrived ignored"])
def test_the_sample_answers_with_a_cat_and_ctrl_c_ends_it_cleanly(running: Up) -> None:
    children = psutil.Process(running.process.pid).children(recursive=True)
    listeners = [
        each.laddr.ip
        for process in [psutil.Process(running.process.pid), *children]
        for each in process.connections("inet")
        if each.status == psutil.CONN_LISTEN
    ]
    assert {address.removeprefix("::ffff:") for address in listeners} == {"127.0.0.1"}
    assert len(listeners) == 2
    v1 = re.search(r"^V1: (.+)$", running.printed, re.MULTILINE).group(1)
    v2 = re.search(r"^V2: (.+)$", running.printed, re.MULTILINE).group(1)
    for line in (v1, v2):
        said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60).stdout
        assert "tiger cat" in said, said
        json.loads(said)

    running.process.send_signal(signal.SIGINT)
    code, out, err = running.end()
    assert (code, err) == (0, "")
    rows = [line for line in out.splitlines() if re.search(r"│ +[01]\.\d{4} │", line)]
    assert "cat" in rows[0]
    assert len(rows) == 5
    assert re.search(r"time to first prediction: \d+\.\d s", out)
    assert out.rstrip().endswith("stopped")
    assert not any(child.is_running() for child in children)


def test_a_request_in_flight_is_answered_before_it_ends(running: Up) -> None:
    photo = base64.b64encode((ROOT / "tests" / "data" / "photos" / "coffee.png").read_bytes()).decode()
    body = json.dumps({"instances": [{"b64": photo}] * 16}).encode()
    request = urllib.request.Request(f"{running.url}/v1/models/cat:predict", body, {"Content-Type": "application/json"})
    answers: list[object] = []

    def ask() -> None:
        with urllib.request.urlopen(request, timeout=120) as answer:
            answers.append((answer.status, len(json.load(answer)["predictions"])))

    client = threading.Thread(target=ask)
    client.start()
    time.sleep(0.8)
    running.process.terminate()
    code, _, err = running.end()
    client.join(timeout=60)
    assert answers == [(200, 16)]
    assert (code, err) == (0, "")


def test_killing_it_leaves_no_predictor_behind(running: Up) -> None:
    children = psutil.Process(running.process.pid).children(recursive=True)
    running.process.kill()
    running.process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_once_stops_by_itself_after_the_answer() -> None:
    done = moor("up", SAMPLE, "--once", *ports())
    assert done.returncode == 0, done.stderr
    assert "tiger cat" in done.stdout
    assert "ServingRuntime cat-predictor" in done.stdout


def test_a_taken_port_is_one_clear_message() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = moor("up", SAMPLE, f"--http-port={port}", f"--grpc-port={free_ports(1)[0]}")
    assert done.returncode == 3
    assert str(port) in done.stderr
    assert "--http-port" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def write(path: Path, **model: object) -> Path:
    document = yaml.safe_load(SAMPLE.read_text())
    document["spec"]["model"].update(model)
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"not a checkpoint at all", ""), (b"\x80\x04\x95", "")],
    ids=["empty", "text", "cut pickle"],
)
def test_a_corrupt_weight_file_is_named_with_the_reason(tmp_path: Path, content: bytes, words: str) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(content)
    file = write(tmp_path / "cat.yaml", storageUri=f"file://{weights}")
    done = moor("up", file, f"--model-root={tmp_path}", *ports())
    assert done.returncode == 2
    assert str(weights) in done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_weight_file_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "cat.yaml", storageUri=f"file://{tmp_path}/gone.safetensors")
    done = moor("up", file, f"--model-root={tmp_path}", *ports())
    assert done.returncode == 2
    assert f"{tmp_path}/gone.safetensors" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_outside_the_model_root_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "cat.yaml", storageUri="file:///etc/hostname")
    done = moor("up", file, f"--model-root={tmp_path}", *ports())
    assert done.returncode == 2
    assert "--model-root" in done.stderr or "model root" in done.stderr


def test_a_photo_that_is_none_is_refused_and_nothing_is_left_running(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"no picture")
    done = moor("up", SAMPLE, f"--photo={photo}", *ports())
    assert done.returncode == 2
    assert "answered 400" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("limit", [{"maxImageSide": 450}, {"maxImageBytes": 240_511}], ids=str)
def test_a_deployment_that_refuses_the_sample_photo_is_served_without_it(tmp_path: Path, limit: dict[str, int]) -> None:
    with Image.open(SAMPLE_PHOTO) as photo:
        assert photo.size == (SAMPLE_SIDE, 300)
    file = write(tmp_path / "cat.yaml", imageClassification=limit)
    done = moor("up", file, "--once", *ports())
    assert (done.returncode, done.stderr) == (0, "")
    assert "the sample photo is larger than the limits of this deployment: not sent" in done.stdout
    assert "time to ready" in done.stdout


def test_what_a_cluster_would_refuse_is_said_although_it_serves_here(tmp_path: Path) -> None:
    weights = ROOT / ".none"
    file = write(tmp_path / "cat.yaml", storageUri=f"file://{weights}")
    done = moor("up", file, f"--model-root={tmp_path}", *ports())
    assert "in a cluster this would be refused: StorageUriForbidden" in done.stdout


def test_with_access_the_lines_that_it_shows_work_with_a_key_from_the_file_beside_it(tmp_path: Path) -> None:
    spec = yaml.safe_load(SAMPLE.read_text())
    spec["spec"]["access"] = {"apiKeys": {"secret": "cat-keys"}}
    (tmp_path / "cat.yaml").write_text(yaml.safe_dump(spec))
    said = moor("up", tmp_path / "cat.yaml", *ports())
    assert said.returncode == 2
    assert f"moor keys create --file {tmp_path}/cat.keys.json" in said.stderr
    key = moor("keys", "create", "alice", "--file", tmp_path / "cat.keys.json").stdout.strip()
    up = Up(tmp_path / "cat.yaml")
    try:
        line = re.search(r"^V2: (.+)$", up.printed, re.MULTILINE).group(1)
        for held, expected in ((key, "tiger cat"), ("", "UNAUTHENTICATED")):
            shell = subprocess.run(
                ["bash", "-c", line], capture_output=True, text=True, env={**os.environ, "KEY": held}
            )
            assert expected in shell.stdout, shell.stdout
        assert "mk_" not in up.printed
    finally:
        up.process.send_signal(signal.SIGINT)
        code, _, err = up.end()
    assert (code, err) == (0, "")
