"""Which engine is chosen: the fastest that answers as float32 does, within the time there is."""

import errno

import numpy as np
import pytest
import torch

from moorage_predictor.engine import choose, judge, precision
from moorage_predictor.engine.backend import Unavailable
from moorage_predictor.engine.calibration import Calibration
from moorage_predictor.engine.options import EngineOptions

RIGHT = np.eye(10, dtype=np.float32)[np.arange(200) % 10]


def images(count):
    return np.random.default_rng(3).random((count, 3, 8, 8), dtype=np.float32)


CALIBRATION = Calibration(images(4), images(100), photos=3, source="made for this test")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Engine:
    """An engine with a fault: it answers wrongly, breaks, is slow to build, or is not installed."""

    def __init__(self, module, wrong=(), fault=None, clock=None, takes_s=0.0):
        self._module, self._wrong, self._fault = module, wrong, fault
        self._clock, self._takes_s = clock, takes_s
        self.built = []

    def export(self, module, example, folder, kind, fitting):
        if self._clock:
            self._clock.now += self._takes_s
        if self._fault:
            raise self._fault
        self.built.append(kind)
        (folder / "model").write_bytes(b"x" * 8)

    def open_files(self, folder, kind):
        return self

    def forward(self, batch, threads=None):
        with torch.inference_mode():
            logits = self._module(torch.from_numpy(batch)).numpy().copy()
        for row, image in enumerate(batch):
            if any(np.array_equal(image, CALIBRATION.judging[number]) for number in self._wrong):
                logits[row] = -logits[row]
        return logits


@pytest.fixture(autouse=True)
def a_cpu_with_every_format(monkeypatch):
    """What is tried depends on the CPU: without this, a machine that lacks bf16 would have other candidates."""
    flags = frozenset({"avx512_bf16", "avx512_fp16", "avx512_vnni"})
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)


@pytest.fixture
def module():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10)).eval().requires_grad_(False)


def run(module, folder, engine, clock=None, **options):
    options = EngineOptions(**{"precision": "auto", "engine": "openvino", **options})
    more = {"clock": clock} if clock else {}
    chooser = choose.Chooser(module, options, CALIBRATION, folder, engines=lambda name: engine, **more)
    chosen, judged = chooser.run()
    return chosen, {(one.engine, one.precision): one for one in judged}


def test_a_candidate_that_misses_the_bar_is_refused_and_its_files_go(module, tmp_path):
    chosen, judged = run(module, tmp_path, Engine(module, wrong=(10, 20)))
    assert (chosen.engine, chosen.precision) == ("eager", "fp32")
    assert judged["openvino", "bf16"].state == "dropped"
    assert judged["openvino", "bf16"].reason == "expected fp32's class for 99% of 100 images, found 98.0%"
    assert list(tmp_path.iterdir()) == []


def test_one_whole_photo_with_another_class_is_too_many(module, tmp_path):
    _, judged = run(module, tmp_path, Engine(module, wrong=(2,)))
    assert judged["openvino", "int8"].reason == "1 of 3 photos get another class than in fp32"


def test_what_passes_is_kept_with_its_files(module, tmp_path):
    chosen, judged = run(module, tmp_path, Engine(module))
    assert chosen.engine == "openvino"
    assert chosen.state == "chosen"
    assert (chosen.agreement, judged["eager", "fp32"].state) == (1.0, "passed")
    assert [folder.name for folder in tmp_path.iterdir()] == [f"openvino-{chosen.precision}"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Unavailable("openvino is not installed"), "openvino is not installed"),
        (RuntimeError("no such operator:\n  foo"), "RuntimeError: no such operator: foo"),
    ],
)
def test_an_engine_that_fails_is_dropped_with_the_reason_and_the_others_go_on(module, tmp_path, fault, reason):
    chosen, judged = run(module, tmp_path, Engine(module, fault=fault))
    assert (chosen.engine, chosen.precision) == ("eager", "fp32")
    assert {judged["openvino", kind].reason for kind in ("bf16", "int8", "fp32")} == {reason}


def caused(error, cause):
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device", "/cache/model.bin")


@pytest.mark.parametrize(
    ("fault", "untried"),
    [
        (FULL, True),
        (caused(RuntimeError("the exporter failed"), FULL), True),
        (RuntimeError("Check 'stream' failed: No space left on device"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (MemoryError(), True),
        (FileNotFoundError(errno.ENOENT, "No such file", "g++"), False),
        (RuntimeError("no such operator"), False),
        (Unavailable("openvino is not installed"), False),
    ],
)
def test_what_was_wrong_with_the_machine_says_nothing_about_a_candidate(module, tmp_path, fault, untried):
    _, judged = run(module, tmp_path, Engine(module, fault=fault))
    assert {judged["openvino", kind].untried for kind in ("bf16", "int8", "fp32")} == {untried}


def test_of_a_compilers_many_words_the_ones_about_the_disk_are_told(module, tmp_path):
    words = (
        "g++ " + "-I/usr/include " * 40 + "\nCannot create temporary file in /tmp/: No space left on device\nstopped"
    )
    _, judged = run(module, tmp_path, Engine(module, fault=RuntimeError(words)))
    assert judged["openvino", "fp32"].reason == (
        "RuntimeError: Cannot create temporary file in /tmp/: No space left on device"
    )


def test_an_engine_that_does_not_say_that_the_disk_is_full_is_found_out(module, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "_ROOM_BYTES", float("inf"))
    for engine in (Engine(module, fault=RuntimeError("iostream error")), Engine(module, wrong=range(50))):
        _, judged = run(module, tmp_path, engine, precision="int8")
        assert judged["openvino", "int8"].untried
        assert judged["openvino", "int8"].reason.startswith("no room is left on the disk: ")


def test_what_a_dropped_candidate_has_written_makes_room_for_the_next(module, tmp_path):
    there = []

    class Full(Engine):
        def export(self, module, example, folder, kind, fitting):
            there.append(sorted(each.name for each in tmp_path.iterdir()))
            (folder / "model").write_bytes(b"x" * 8)
            raise FULL

    run(module, tmp_path, Full(module))
    assert there == [["openvino-bf16"], ["openvino-int8"], ["openvino-fp32"]]


def test_nothing_is_begun_that_would_not_be_done_within_the_budget(module, tmp_path):
    clock = Clock()
    engine = Engine(module, clock=clock, takes_s=25.0)
    chosen, judged = run(module, tmp_path, engine, clock, budget_s=30.0)
    assert engine.built == ["bf16"]
    assert (chosen.engine, chosen.precision) == ("openvino", "bf16")
    assert judged["openvino", "int8"].reason.startswith("no time: 5 s of the budget are left, and it takes about 1")
    assert clock.now <= 30.0


def test_a_format_that_the_cpu_lacks_is_not_tried(module, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset({"avx512_vnni"}))
    engine = Engine(module)
    _, judged = run(module, tmp_path, engine)
    assert judged["openvino", "bf16"].reason.startswith("this CPU computes no bf16 (it has none of avx512_bf16, ")
    assert sorted(engine.built) == ["fp32", "int8"]


def test_what_is_asked_for_by_name_is_built_however_long_it_takes(module, tmp_path):
    clock = Clock()
    chosen, _ = run(module, tmp_path, Engine(module, clock=clock, takes_s=99.0), clock, budget_s=1.0, precision="int8")
    assert (chosen.engine, chosen.precision) == ("openvino", "int8")


def test_int8_keeps_the_bar_even_when_it_is_asked_for_by_name(module, tmp_path):
    chosen, _ = run(module, tmp_path, Engine(module, wrong=range(50)), precision="int8")
    assert (chosen.engine, chosen.precision) == ("eager", "fp32")


def test_bf16_by_name_is_served_as_asked(module, tmp_path):
    chosen, _ = run(module, tmp_path, Engine(module, wrong=range(50)), precision="bf16")
    assert (chosen.engine, chosen.precision) == ("openvino", "bf16")
    assert chosen.agreement == 0.5


def test_fp32_must_be_as_near_as_rounding():
    near, far = RIGHT * (1 + 5e-6), RIGHT * (1 + 5e-5)
    assert judge.compare(near, RIGHT, 3, "fp32").refusal is None
    assert judge.compare(far, RIGHT, 3, "fp32").refusal == (
        "expected fp32's answers within 1e-05 of the largest, found 5e-05"
    )
    assert judge.compare(far, RIGHT, 3, "bf16").refusal is None


def test_answers_that_are_no_numbers_are_refused():
    assert judge.compare(RIGHT * np.nan, RIGHT, 3, "bf16").refusal.startswith("its answers are not finite")
    assert judge.compare(RIGHT[:, :5], RIGHT, 3, "bf16").refusal is not None
