"""With several workers /metrics tells of all of them, whichever is asked, also when one has been killed."""

import http.client
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest
from tests.control_plane.process import free_ports
from tests.e2e.observability.conftest import PATIENCE_S, ask_once, body

WORKERS = 4
INFER = "/v2/models/twice/infer"


class Callers:
    """Threads that ask, each time over a new connection, and count what they got."""

    def __init__(self, url: str, threads: int) -> None:
        self._url = url
        self.answered = 0
        self.cut = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                answered = ask_once(self._url) == 200
            except (OSError, http.client.HTTPException):
                answered = False
            with self._lock:
                self.answered += answered
                self.cut += not answered

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def counted(text: str) -> float:
    found = re.findall(r'^moorage_requests_total\{code="200",.*protocol="v2".*\} (.*)$', text, re.MULTILINE)
    return sum(map(float, found))


def numbers(text: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (.*)$", text, re.MULTILINE)]


@pytest.fixture
def four(twice):
    [port] = free_ports(1)
    predictor = twice(workers=WORKERS, metrics_port=port)
    deadline = time.monotonic() + PATIENCE_S
    while '"ready","done":1' not in predictor.stderr():
        assert time.monotonic() < deadline, predictor.stderr()
        time.sleep(0.05)
    predictor.metrics = lambda: httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    return predictor


def test_four_workers_count_every_request_exactly(four):
    with Callers(four.url, 8) as callers:
        time.sleep(2)
    assert callers.cut == 0
    # Each scrape reaches one of the four; all tell the same.
    assert {counted(four.metrics()) for _ in range(12)} == {callers.answered}
    text = four.metrics()
    assert numbers(text, "moorage_stage_duration_seconds_count") == [callers.answered] * 4
    assert numbers(text, "moorage_worker_starts_total") == [1] * WORKERS
    assert len(numbers(text, "moorage_resident_memory_bytes")) == WORKERS
    assert numbers(text, "moorage_pending_requests_limit") == [256 * WORKERS]


def test_no_count_is_lost_and_none_goes_down_when_a_worker_is_killed(four):
    seen = []
    with Callers(four.url, 4) as callers:
        for round_ in range(20):
            if round_ == 5:
                os.kill(psutil.Process(four.process.pid).children()[1].pid, signal.SIGKILL)
            seen.append(counted(four.metrics()))
            time.sleep(0.1)
        deadline = time.monotonic() + PATIENCE_S
        while sum(numbers(four.metrics(), "moorage_worker_starts_total")) < WORKERS + 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert seen == sorted(seen)
    # The killed one may have counted answers that never left it, one for each caller that was cut.
    assert callers.answered <= counted(four.metrics()) <= callers.answered + callers.cut


def test_what_a_model_counts_itself_is_added_up_too(twice, tmp_path):
    file = tmp_path / "counting.py"
    file.write_text(
        "from prometheus_client import Counter\n"
        "ROWS = Counter('rows_of_mine', 'Rows.')\n"
        "class Counting:\n"
        "    def predict(self, inputs):\n"
        "        ROWS.inc()\n"
        "        return inputs\n"
    )
    predictor = twice(model_name="twice", task=f"{file}:Counting", workers=2)
    for _ in range(30):
        assert predictor.post(INFER, json=body(1)).status_code == 200
    assert numbers(predictor.get("/metrics").text, "rows_of_mine_total") == [30]


def test_the_metrics_port_has_the_metrics_and_the_other_has_none(four):
    assert four.get("/metrics").status_code == 404
    assert four.get("/metrics").json()["error"] == "no metrics here: they have a port of their own, --metrics-port"
    port = four.settings.metrics_port
    assert httpx.get(f"http://127.0.0.1:{port}/v2/models/twice/ready").status_code == 404
    assert httpx.post(f"http://127.0.0.1:{port}/metrics").status_code == 405
    listening = {
        connection.laddr
        for child in psutil.Process(four.process.pid).children()
        for connection in child.connections()
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_who_sends_half_a_request_to_the_metrics_port_is_cut_off(twice):
    [port] = free_ports(1)
    twice(metrics_port=port, header_timeout_s=1)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as half:
        half.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        assert half.recv(100) == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["told to stop", "killed"])
def test_what_several_workers_count_in_lies_in_a_folder_of_their_own_that_goes_with_them(twice, number):
    predictor = twice(workers=2)
    workers = psutil.Process(predictor.process.pid).children()
    [folder] = [word.partition("=")[2] for word in workers[0].cmdline() if word.startswith("--metrics-dir=")]
    assert Path(folder).stat().st_mode & 0o777 == 0o700
    predictor.process.send_signal(number)
    predictor.exit_code()
    psutil.wait_procs(workers, PATIENCE_S)
    assert not Path(folder).exists()
