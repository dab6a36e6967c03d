"""Tensors on disk -> the parameters of a module, without a second copy of them."""

import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from moorage_predictor.engine import architectures, weights
from moorage_predictor.errors import LoadFailed


def filled(tensors, folder, name="test_resnet", mode=0o644):
    """The architecture with these weights, by way of a file."""
    file = folder / "model.safetensors"
    save_file(tensors, file)
    file.chmod(mode)
    module = architectures.build(name, 10).eval().requires_grad_(False)
    weights.fill(module, weights.read(file, file), file, name, lambda step: None)
    return module


@pytest.fixture
def state():
    torch.manual_seed(3)
    shapes = architectures.build("test_resnet", 10).state_dict()
    return {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in shapes.items()}


def mapped_from(file):
    """The address ranges at which this process has the file."""
    lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    return [tuple(int(end, 16) for end in line[0].split("-")) for line in lines if line[-1] == str(file)]


def views(module, file):
    """Which of the module's tensors lie in the mapping of the file."""
    ranges = mapped_from(file)
    return [any(start <= tensor.data_ptr() < end for start, end in ranges) for tensor in module.state_dict().values()]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The process keeps its own files in another folder than the test's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()


@pytest.mark.usefixtures("elsewhere")
def test_every_parameter_is_a_view_of_a_file_that_nobody_may_write(state, tmp_path):
    module = filled(state, tmp_path, mode=0o444)
    assert all(views(module, tmp_path / "model.safetensors"))


@pytest.mark.usefixtures("elsewhere")
def test_every_parameter_is_a_view_of_what_the_process_fetched_itself(state, tmp_path):
    module = filled(state, tmp_path / "own")
    assert all(views(module, tmp_path / "own" / "model.safetensors"))


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("how", ["truncated", "overwritten"])
def test_a_file_that_somebody_writes_over_leaves_the_model_as_it_is(state, tmp_path, how):
    module = filled(state, tmp_path)
    batch = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        before = module(batch)
        with (tmp_path / "model.safetensors").open("r+b") as file:
            size = file.seek(0, 2)
            if how == "truncated":
                file.truncate(0)
            else:
                file.seek(0)
                file.write(bytes(size))
        assert torch.equal(module(batch), before)
    assert not any(views(module, tmp_path / "model.safetensors"))


def test_the_answers_are_those_of_copied_weights(state, tmp_path):
    module = filled(state, tmp_path)
    copied = architectures.build("test_resnet", 10).eval()
    copied.load_state_dict(state)
    batch = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(module(batch), copied(batch))


def test_nothing_writes_to_the_file(state, tmp_path):
    module = filled(state, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    with torch.no_grad():
        module.fc.weight.zero_()
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_file_that_is_replaced_by_another_leaves_the_weights_as_they_are(state, tmp_path):
    module = filled(state, tmp_path)
    (tmp_path / "new").write_bytes(b"another file")
    (tmp_path / "new").replace(tmp_path / "model.safetensors")
    assert torch.equal(module.fc.weight, state["fc.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_stored_in_another_type_become_the_modules(state, tmp_path, dtype):
    stored = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    module = filled(stored, tmp_path)
    assert module.fc.weight.dtype == torch.float32
    assert torch.equal(module.fc.weight, stored["fc.weight"].float())
    assert module.bn1.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_stored_in_eight_bits_become_the_modules(state, tmp_path, dtype):
    stored = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}
    module = filled(stored, tmp_path)
    assert module.fc.weight.dtype == torch.float32
    assert torch.equal(module.fc.weight, stored["fc.weight"].float())


def test_nan_in_eight_bits_is_refused(state, tmp_path):
    state["fc.bias"][0] = float("nan")
    with pytest.raises(LoadFailed, match=r"fc\.bias contains NaN"):
        filled({**state, "fc.bias": state["fc.bias"].to(torch.float8_e4m3fn)}, tmp_path)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float4_e2m1fn_x2])
def test_a_type_that_is_no_weights_is_named(state, tmp_path, dtype):
    bias = torch.zeros(20, dtype=torch.uint8).view(dtype) if "float4" in str(dtype) else torch.zeros(10, dtype=dtype)
    with pytest.raises(
        LoadFailed, match=r"fc\.bias: expected numbers of a type like float32, .*found (complex64|float4)"
    ):
        filled({**state, "fc.bias": bias}, tmp_path)


def test_counters_that_old_checkpoints_lack_are_zero(state, tmp_path):
    module = filled({key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}, tmp_path)
    assert module.bn1.num_batches_tracked.item() == 0


def test_infinities_are_not_taken_for_nan_and_nan_beside_them_is(state, tmp_path):
    bias = state["fc.bias"]
    bias[0], bias[1] = float("inf"), float("-inf")
    assert torch.equal(filled(state, tmp_path).fc.bias, bias)
    bias[2] = float("nan")
    with pytest.raises(LoadFailed, match=r"fc\.bias contains NaN"):
        filled(state, tmp_path)


def test_a_tensor_at_an_odd_address_is_moved(tmp_path):
    file = tmp_path / "odd.safetensors"
    header = {
        "weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [1, 9]},
        "flag": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
    }
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"\1" + np.array([2, 3], "<f4").tobytes())
    module = torch.nn.Linear(2, 1, bias=False)
    module.register_buffer("flag", torch.zeros(1, dtype=torch.uint8))
    weights.fill(module, weights.read(file, file), file, "odd", lambda step: None)
    assert module.weight.data_ptr() % 4 == 0
    assert module.weight.tolist() == [[2, 3]]
