"""Debian's Prometheus scrapes a predictor under load, and every question of the reference has an answer."""

import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.control_plane.process import free_ports
from tests.e2e.observability.conftest import PATIENCE_S, body
from tests.servers import program
from tests.unit.access.callers import made_key

from moorage.access.stores import write_file
from moorage.api.metrics import METRICS, QUERIES

INFER = "/v2/models/twice/infer"
CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: predictor
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus:
    """Its own folder, a free port, no service."""

    def __init__(self, folder: Path, scraped: int) -> None:
        config = folder / "prometheus.yml"
        config.write_text(CONFIG.format(port=scraped))
        [port] = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.log = (folder / "prometheus.log").open("w")
        self.process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def until_ready(self) -> "Prometheus":
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None
            try:
                if httpx.get(f"{self.url}/-/ready").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError("Prometheus was never ready")

    def ask(self, promql: str) -> list[dict[str, object]]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": promql}, timeout=30).json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def limited(twice, tmp_path):
    """A predictor with keys, a rate limit and a metrics port; and its only key."""
    presented, stored = made_key()
    write_file(tmp_path / "keys.json", (stored,))
    [port] = free_ports(1)
    predictor = twice(
        metrics_port=port,
        max_batch_size=8,
        access_keys_file=str(tmp_path / "keys.json"),
        rate_limit=("1/second operation=predict",),  # so that some pass at any time: the first scrape may come late
    )
    return predictor, presented, port


def test_every_question_of_the_reference_has_an_answer(limited, tmp_path):
    predictor, key, port = limited
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.05):
            httpx.post(predictor.url + INFER, json=body(1), headers={"x-api-key": key}, timeout=30)
            httpx.post(predictor.url + INFER, json=body(1), headers={"x-api-key": "mk_nobody_x"}, timeout=30)

    prometheus = Prometheus(tmp_path, port)
    caller = threading.Thread(target=ask)
    try:
        prometheus.until_ready()
        caller.start()
        deadline = time.monotonic() + PATIENCE_S
        unanswered = {query.question: query.promql for query in QUERIES}
        while unanswered and time.monotonic() < deadline:
            time.sleep(0.5)
            for question, promql in list(unanswered.items()):
                values = [float(one["value"][1]) for one in prometheus.ask(promql)]
                if values and all(value == value for value in values):  # NaN: nothing happened yet
                    del unanswered[question]
        assert unanswered == {}
        kinds = httpx.get(f"{prometheus.url}/api/v1/metadata").json()["data"]
        ours = {metric.name: metric.kind for metric in METRICS if metric.component == "predictor"}
        assert {name: kinds[name][0]["type"] for name in kinds if name.startswith("moorage_")} == ours
        assert prometheus.ask('up{job="predictor"}')[0]["value"][1] == "1"
    finally:
        stop.set()
        if caller.ident:
            caller.join()
        prometheus.close()
