"""What is counted, and how several workers' numbers become one."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from moorage.api import metrics as m
from moorage_predictor.metrics import Metrics, ModelMetrics
from moorage_predictor.telemetry.process import usage
from moorage_predictor.telemetry.store import SharedStore, Store, merged

NOBODY = 2**22
"""No process has this id: Linux ends below."""


def metrics_of(store: Store | None = None, worker: int = 0, **more: int) -> Metrics:
    return Metrics(CollectorRegistry(), store, worker, **more)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_requests_are_counted_by_code_and_timed_by_protocol() -> None:
    metrics = metrics_of()
    cats = metrics.of("cats", "1")
    for code, seconds in ((200, 0.003), (200, 0.3), (400, 0.0001)):
        cats.v2.answered(code, seconds)
    labels = {"model": "cats", "version": "1", "protocol": "v2"}
    assert value(metrics, "moorage_requests_total", **labels, code="200") == 2
    assert value(metrics, "moorage_requests_total", **labels, code="400") == 1
    assert value(metrics, "moorage_request_duration_seconds_bucket", **labels, le="0.005") == 2
    assert value(metrics, "moorage_request_duration_seconds_bucket", **labels, le="+Inf") == 3
    assert value(metrics, "moorage_request_duration_seconds_sum", **labels) == pytest.approx(0.3031)


def test_the_stages_of_a_request_add_up_to_it() -> None:
    metrics = metrics_of()
    metrics.of("cats", "1").spent(0, 1_000_000, 3_000_000, 7_000_000, 8_000_000)
    seconds = [
        value(metrics, "moorage_stage_duration_seconds_sum", model="cats", version="1", stage=stage)
        for stage in m.STAGES
    ]
    assert seconds == pytest.approx([0.001, 0.002, 0.004, 0.001])


def test_many_odd_models_share_one_value() -> None:
    metrics = metrics_of(most_models=10)
    for number in range(1000):
        metrics.of(f"odd{number}", "1").v1.answered(200, 0.001)
    text = generate_latest(metrics.registry).decode()
    assert len({line.split("}")[0] for line in text.splitlines() if line.startswith("moorage_requests_total{")}) == 11
    together = {"model": m.OTHER, "version": m.OTHER, "protocol": "v1", "code": "200"}
    assert value(metrics, "moorage_requests_total", **together) == 990


def test_requests_for_what_is_not_there_are_told_from_those_for_many_models() -> None:
    metrics = metrics_of(most_models=1)
    for name in ("cats", "dogs"):
        metrics.of(name, "1").v2.answered(200, 0.001)
    metrics.unknown.v2.answered(404, 0.001)
    unknown = {"model": m.UNKNOWN, "version": m.UNKNOWN, "protocol": "v2", "code": "404"}
    assert value(metrics, "moorage_requests_total", **unknown) == 1


def test_many_reasons_of_denials_share_one_value() -> None:
    metrics = metrics_of()
    for number in range(100):
        metrics.denied(f"reason{number}")
    assert value(metrics, "moorage_access_denied_total", reason=m.OTHER) == 68


def test_the_share_of_limited_requests_is_there_from_the_first_decision() -> None:
    metrics = metrics_of()
    metrics.rate_limited("predict", "key", True)
    found = [
        value(metrics, "moorage_rate_limit_decisions_total", operation="predict", caller="key", outcome=outcome)
        for outcome in ("allowed", "limited")
    ]
    assert found == [1, 0]


def test_a_version_that_is_gone_is_no_longer_shown() -> None:
    metrics = metrics_of()
    metrics.of("cats", "1").v1.answered(200, 0.001)
    metrics.of("cats", "2").v1.answered(200, 0.001)
    metrics.forget("cats", "1")
    text = generate_latest(metrics.registry).decode()
    assert 'version="2"' in text
    assert 'version="1"' not in text


def test_a_model_runs_on_one_engine_at_a_time() -> None:
    metrics = metrics_of()
    cats = metrics.of("cats", "1")
    cats.runs_on("eager", "fp32")
    cats.runs_on("openvino", "int8")
    labels = {"model": "cats", "version": "1"}
    assert value(metrics, "moorage_model_info", **labels, engine="eager", precision="fp32") is None
    assert value(metrics, "moorage_model_info", **labels, engine="openvino", precision="int8") == 1


def test_every_documented_metric_of_the_predictor_is_shown_and_no_other() -> None:
    metrics = metrics_of()
    shown = {
        line.split()[2] for line in generate_latest(metrics.registry).decode().splitlines() if line.startswith("# TYPE")
    }
    assert shown == {metric.name for metric in m.METRICS if metric.component == "predictor"}


def test_any_worker_tells_what_all_have_counted(tmp_path: Path) -> None:
    workers = [metrics_of(SharedStore(tmp_path, number, 10), number) for number in range(4)]
    for number, worker in enumerate(workers):
        for _ in range(number + 1):
            worker.of("cats", "1").v2.answered(200, 0.01 * (number + 1))
    labels = {"model": "cats", "version": "1", "protocol": "v2"}
    for worker in workers:
        assert value(worker, "moorage_requests_total", **labels, code="200") == 10
        assert value(worker, "moorage_request_duration_seconds_count", **labels) == 10


def test_gauges_of_workers_are_added_up_or_the_worst_is_shown(tmp_path: Path) -> None:
    one, two = (metrics_of(SharedStore(tmp_path, number, 10), number) for number in range(2))
    for worker, rows, ready, seconds in ((one, 3, True, 2.0), (two, 4, False, 5.0)):
        cats = worker.of("cats", "1")
        cats.watch(lambda rows=rows: (rows, 1), 256)
        cats.ready(ready)
        cats.loaded(seconds)
        worker.refresh()
    labels = {"model": "cats", "version": "1"}
    assert value(one, "moorage_queue_rows", **labels) == 7
    assert value(one, "moorage_pending_requests_limit", **labels) == 512
    assert value(one, "moorage_model_ready", **labels) == 0
    assert value(one, "moorage_model_load_seconds", **labels) == 5


COUNTS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from moorage_predictor.metrics import Metrics
from moorage_predictor.telemetry.store import SharedStore
metrics = Metrics(CollectorRegistry(), SharedStore(Path(sys.argv[1]), 1, 10), 1)
cats = metrics.of("cats", "1")
cats.ready(True)
for _ in range(1000):
    cats.v2.answered(200, 0.001)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_counter_goes_down_when_a_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    here = metrics_of(SharedStore(tmp_path, 0, 10), 0)
    here.of("cats", "1").ready(False)
    requests = {"model": "cats", "version": "1", "protocol": "v2", "code": "200"}
    for life in (1, 2):
        subprocess.run([sys.executable, "-c", COUNTS_AND_DIES, str(tmp_path)], check=False)
        assert value(here, "moorage_requests_total", **requests) == 1000 * life
        assert value(here, "moorage_worker_starts_total", worker="1") == life
        assert value(here, "moorage_model_ready", model="cats", version="1") == 0, "gauges of the dead say nothing"


def test_a_successor_does_not_repeat_the_gauges_of_the_one_before(tmp_path: Path) -> None:
    metrics_of(SharedStore(tmp_path, 0, 10)).of("cats", "1").ready(True)
    after = metrics_of(SharedStore(tmp_path, 0, 10))
    assert value(after, "moorage_model_ready", model="cats", version="1") is None


def test_a_full_file_counts_no_more_series_and_breaks_none(tmp_path: Path) -> None:
    store = SharedStore(tmp_path, 0, 0)
    first = ModelMetrics(store, "first", "1")
    first.evicted()
    for number in range(5000):
        ModelMetrics(store, f"model{number}", "1").v1.answered(200, 0.001)
    first.evicted()
    [numbers] = store.all_numbers()
    assert numbers["moorage_model_evictions_total", ("first", "1")] == [2.0]
    assert len(numbers) < 5000


def test_a_disk_that_is_full_later_takes_no_more_series_and_breaks_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = SharedStore(tmp_path, 0, 200)
    monkeypatch.setattr("os.posix_fallocate", full)
    models = [ModelMetrics(store, f"model{number}", "1") for number in range(1000)]
    for model in models * 2:
        model.v1.answered(200, 0.001)
    [numbers] = store.all_numbers()
    counted = [values for (name, _), values in numbers.items() if name == "moorage_requests_total"]
    assert 50 < len(counted) < 1000
    assert counted == [[2.0]] * len(counted)


def test_a_file_takes_of_the_disk_little_more_than_is_counted_in_it(tmp_path: Path) -> None:
    store = SharedStore(tmp_path, 0, 10_000)
    models = [ModelMetrics(store, f"model{number}", "1") for number in range(1000)]
    for model in models:
        model.v1.answered(200, 0.001)
    [numbers] = store.all_numbers()
    assert len(numbers) == 2 * len(models)
    taken = (tmp_path / "0.metrics").stat()
    assert taken.st_blocks * 512 < 500 * len(models) < taken.st_size


def test_a_file_that_is_just_being_made_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "7.metrics").write_bytes(b"")
    metrics = metrics_of(SharedStore(tmp_path, 0, 10))
    metrics.of("cats", "1").evicted()
    assert value(metrics, "moorage_model_evictions_total", model="cats", version="1") == 1


def test_numbers_that_say_nothing_are_left_out() -> None:
    key = "moorage_model_ready", ("cats", "1")
    assert merged([{key: [float("nan")]}, {key: [1.0]}]) == {key: [1.0]}
    assert merged([{key: [float("nan")]}]) == {}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_memory_and_processor_time_are_those_of_the_process() -> None:
    ours = usage(os.getpid())
    assert ours.resident_bytes is not None
    assert ours.resident_bytes > 10 * 2**20
    assert ours.cpu_seconds is not None
    assert ours.cpu_seconds > 0
    assert usage(NOBODY) == (None, None, None)
