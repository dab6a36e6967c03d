"""Several workers on one pair of ports."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import grpc
import httpx
import psutil
import pytest

from moorage.api.oip import SERVICE
from moorage.api.oip import open_inference_pb2 as pb

PID_MODEL = textwrap.dedent(
    """
    import os
    import numpy as np

    class Pid:
        inputs = [{"name": "x", "datatype": "FP32", "shape": [-1]}]

        def predict(self, inputs):
            return {"pid": np.array([os.getpid()], dtype=np.int64)}
    """
)
PATIENCE_S = 120
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}


@pytest.fixture
def two_workers(start, tmp_path):
    file = tmp_path / "pid.py"
    file.write_text(PID_MODEL)
    return start(task=f"{file}:Pid", workers=2).until_all_ready()


def pids(predictor, calls=40):
    """Who answers, each time over a new connection."""
    return {
        httpx.post(predictor.url + "/v2/models/cats/infer", json=BODY, timeout=30).json()["outputs"][0]["data"][0]
        for _ in range(calls)
    }


def test_both_workers_answer_on_the_one_port_over_http_and_grpc(two_workers):
    children = {child.pid for child in psutil.Process(two_workers.process.pid).children()}
    assert len(children) == 2
    assert pids(two_workers) == children
    with grpc.insecure_channel(two_workers.grpc) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ModelReady", pb.ModelRequest.SerializeToString, pb.ModelReadyResponse.FromString
        )
        assert call(pb.ModelRequest(name="cats"), timeout=30).ready


def test_who_is_told_that_it_is_ready_is_answered_also_where_the_first_worker_is_the_slowest(start, tmp_path):
    file = tmp_path / "pid.py"
    slow = "import time\nif '--worker-number=1' not in open('/proc/self/cmdline').read():\n    time.sleep(3)\n"
    file.write_text(slow + PID_MODEL)
    predictor = start(task=f"{file}:Pid", workers=2).until_ready()
    codes = [httpx.post(predictor.url + "/v2/models/cats/infer", json=BODY, timeout=30).status_code for _ in range(20)]
    assert codes == [200] * 20


def test_a_worker_that_is_killed_is_replaced_and_the_others_go_on(two_workers):
    before = pids(two_workers)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(victim)] if psutil.pid_exists(victim) else [], timeout=10)
    (survivor,) = before - {victim}
    two_workers.until("/v2/models/cats/ready")
    deadline = time.monotonic() + PATIENCE_S
    while len(after := pids(two_workers, calls=10)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(after) == 2
    assert survivor in after
    assert victim not in after


def test_all_end_together_and_with_code_0(two_workers):
    children = psutil.Process(two_workers.process.pid).children()
    two_workers.process.terminate()
    assert two_workers.exit_code() == 0
    assert not [child for child in children if child.is_running()]


def test_told_to_stop_while_its_workers_load_it_ends_with_code_0_and_leaves_none_behind(start, tmp_path):
    file = tmp_path / "slow.py"
    file.write_text("import time\n\nclass Slow:\n    def __init__(self):\n        time.sleep(600)\n")
    predictor = start(task=f"{file}:Slow", workers=2)
    predictor.until("/v2/health/live")
    children = psutil.Process(predictor.process.pid).children()
    predictor.process.terminate()
    assert predictor.exit_code() == 0
    assert not [child for child in children if child.is_running()]


def test_workers_end_when_their_parent_is_killed(two_workers):
    children = psutil.Process(two_workers.process.pid).children()
    two_workers.process.kill()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_a_port_of_workers_is_taken_for_everybody_else(two_workers):
    for workers in ("1", "2"):
        second = subprocess.run(
            [sys.executable, "-m", "moorage_predictor", *two_workers.settings.argv(), f"--workers={workers}"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert second.returncode == 3
        assert "--http-port" in second.stderr


def test_a_model_that_cannot_load_ends_all_workers_with_its_own_code_and_reason(start, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("class Broken:\n    def __init__(self):\n        raise ValueError('no such luck')\n")
    predictor = start(task=f"{file}:Broken", workers=2)
    assert predictor.exit_code() == 2
    assert "no such luck" in predictor.stderr()
