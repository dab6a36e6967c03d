"""torch as an engine: the same answers in every order of memory, close ones in every precision, on as many cores as told."""

import threading

import numpy as np
import pytest
import timm
import torch

from moorage_predictor.engine import precision
from moorage_predictor.engine.backends import eager

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
ARCHITECTURES = ["test_resnet", "test_vit", "test_convnext"]


@pytest.fixture
def batch():
    return np.random.default_rng(3).standard_normal((5, 3, 160, 160), dtype=np.float32)


def plain(name, batch):
    torch.manual_seed(5)
    module = timm.create_model(name, num_classes=10).eval()
    with torch.inference_mode():
        return module, module(torch.from_numpy(batch)).numpy()


def furthest(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fp32_answers_are_those_of_the_module(name, device, batch):
    module, expected = plain(name, batch)
    engine = eager.make(module, "fp32", device)
    assert furthest(engine.forward(batch), expected) < 1e-5
    assert furthest(engine.forward(batch[:1]), expected[:1]) < 1e-5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("kind", "tolerance"), [("bf16", 5e-2), ("fp16", 5e-3)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_half_precisions_answer_float32_near_the_module(name, device, kind, tolerance, batch):
    module, expected = plain(name, batch)
    found = eager.make(module, kind, device).forward(batch)
    assert found.dtype == np.float32
    assert furthest(found, expected) < tolerance


def test_eager_has_no_int8():
    with pytest.raises(ValueError, match="expected precision fp32, bf16, fp16, found int8"):
        eager.make(torch.nn.Identity(), "int8", "cpu")


@pytest.mark.parametrize("device", DEVICES)
def test_calls_from_several_threads_do_not_mix(device, batch):
    module, _ = plain("test_resnet", batch)
    engine = eager.make(module, "fp32", device)
    rows = [batch[i : i + 1] for i in range(5)]
    expected = [engine.forward(row, 1) for row in rows]
    wrong = []

    def call(number):
        for _ in range(5):
            if not np.allclose(engine.forward(rows[number], 1 + number % 2), expected[number], atol=1e-5):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_thread_keeps_its_cores_whatever_others_set():
    ready, changed = threading.Event(), threading.Event()
    found = []

    def one():
        eager.set_threads(1)
        ready.set()
        changed.wait()
        found.append(torch.get_num_threads())

    def two():
        ready.wait()
        eager.set_threads(2)
        changed.set()
        found.append(torch.get_num_threads())

    threads = [threading.Thread(target=one), threading.Thread(target=two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [1, 2]


@pytest.mark.parametrize(
    ("kind", "flags", "answer"),
    [
        ("fp32", {"sse"}, None),
        ("bf16", {"avx512_bf16"}, None),
        ("bf16", {"avx2"}, "this CPU computes no bf16"),
        ("fp16", {"avx2"}, "this CPU computes no fp16"),
        ("int8", {"avx_vnni"}, None),
        ("int8", set(), None),
    ],
)
def test_a_format_is_missing_where_the_cpu_lacks_its_instructions(kind, flags, answer):
    reason = precision.missing(kind, "cpu", frozenset(flags))
    assert reason is None if answer is None else reason.startswith(answer)


def test_the_processor_is_named_as_linux_names_it(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: A CPU\nmodel\t\t: 7\nflags\t\t: sse avx512_bf16\n\nprocessor\t: 1\n")
    assert precision.cpu_name(file) == "A CPU, model 7"
    assert precision.cpu_flags(file) == {"sse", "avx512_bf16"}
