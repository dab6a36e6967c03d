"""`moor bench cold-start` as a user runs it."""

import json
from pathlib import Path

from tests.e2e.up.test_up import SAMPLE, moor


def test_a_cold_start_is_taken_apart_and_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "cold.svg"
    done = moor("bench", "cold-start", SAMPLE, "--runs=1", "--floor", "--output=json", f"--picture={picture}")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    stages = told["cold_start"]["stages_s"]
    assert list(stages) == ["interpreter", "imports", "fetch", "load", "warm-up", "first answer"]
    assert all(stages[stage] > 0 for stage in ("interpreter", "imports", "load", "warm-up", "first answer"))
    assert told["ratio"] > 0
    assert told["floor"]["stages_s"]["imports"] > 0
    assert picture.read_text().startswith("<svg")


def test_a_model_that_cannot_be_served_is_told_as_in_moor_up(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    done = moor("bench", "cold-start", f"--model-dir={tmp_path}", "--architecture=timm/resnet18", "--runs=1")
    assert done.returncode == 2
    assert "not a complete safetensors file" in done.stderr
