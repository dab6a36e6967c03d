"""The parent of several workers: whom it kills, whom it forgives, and what it does when no process can be started."""

import errno
import os
import select
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from moorage.api.predictor import PredictorSettings
from moorage_predictor.worker import Worker
from moorage_predictor.workers import Workers

HELPER = "import subprocess; subprocess.Popen(['sleep', '60']); print('started', flush=True)"
PATIENCE_S = 10


@pytest.fixture
def worker():
    """Without a process, and with a heart that does not beat."""
    made = Worker(0)
    made._heartbeat, writing = os.pipe()
    os.set_blocking(made._heartbeat, False)
    yield made
    os.close(writing)
    if made._heartbeat >= 0:
        os.close(made._heartbeat)


@pytest.fixture
def parent(worker):
    made = Workers(PredictorSettings(task="a:B", http_port=0, workers=2, worker_timeout_s=2))
    made._workers = [worker]
    return made


def test_what_a_worker_has_started_ends_with_it(worker):
    with subprocess.Popen(
        [sys.executable, "-c", HELPER], stdout=subprocess.PIPE, start_new_session=True
    ) as worker.process:
        output = worker.process.stdout
        assert output.readline() == b"started\n"
        worker.process.wait(PATIENCE_S)
        worker.let_go()
        assert select.select([output], [], [], PATIENCE_S)[0]
        assert output.read() == b""  # nobody holds the other end any more


def test_workers_that_stood_still_with_their_parent_get_their_time_anew(parent, worker):
    now = time.monotonic()
    worker.heard_at = parent._looked_at = now - 8
    parent._forgive_standstill(now)
    assert worker.heard_at == now
    parent._forgive_standstill(now + 0.05)
    assert worker.heard_at == now


def test_a_worker_that_takes_long_to_end_is_told_of_once(parent, worker, caplog):
    worker.process = SimpleNamespace(kill=lambda: None)
    worker.heard_at = 0.0
    worker.ready_at = 0.0
    for now in (100.0, 100.05, 100.1):
        parent._check(worker, now)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("call", ["socket.socket.bind", "subprocess.Popen", "threading.Thread.start"])
def test_where_no_process_can_be_started_it_is_tried_again_later_and_nothing_is_left_open(
    parent, worker, monkeypatch, caplog, call
):
    def fail(*_args, **_options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    class Child(subprocess.Popen):
        """Of which only its life matters here."""

        def __init__(self, command, **options):
            super().__init__(["sleep", "60"], **options)
            started.append(self)

    started = []
    monkeypatch.setattr(subprocess, "Popen", Child)
    monkeypatch.setattr(call, fail)
    before = psutil.Process().num_fds()
    now = time.monotonic()
    for pause in (0.0, 1.0, 2.0):
        parent._replace(worker, now)
        assert worker.process is None
        assert worker.start_at == now + pause
    assert psutil.Process().num_fds() == before
    assert all(child.returncode is not None for child in started)
    assert [record.reason for record in caplog.records] == ["Too many open files"] * 3
    parent._hold_back()
    assert (
        parent._held_back.reason
        == "worker 0 ended 3 times in a row, with no new process: Too many open files; see the log"
    )
