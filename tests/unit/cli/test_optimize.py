"""`moor optimize`: what it asks the predictor's process for, and how it shows the answer."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from moorage.cli.main import main
from moorage.cli.optimize import table


def candidate(engine: str, precision: str, state: str, *measured: float | None, reason: str = "") -> dict[str, Any]:
    names = ("ms_single", "ms_loaded", "agreement")
    return {
        "engine": engine,
        "precision": precision,
        "state": state,
        "reason": reason,
        **dict(zip(names, measured, strict=True)),
    }


RECORD = {
    "candidates": [
        candidate("eager", "fp32", "passed", 20.12, 15.0, 1.0),
        candidate("openvino", "int8", "dropped", None, None, None, reason="no time"),
        candidate("openvino", "bf16", "chosen", 4.0, 3.0, 0.995),
    ]
}


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> Any:
    monkeypatch.setattr("sys.argv", ["moor", "optimize", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_table_says_what_became_of_each_candidate() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(RECORD))
    rows = [line.split() for line in captured.get().splitlines()]
    assert rows[1] == ["eager", "fp32", "20.1", "15", "100.0%", "passed"]
    assert rows[2] == ["openvino", "int8", "dropped,", "no", "time"]
    assert rows[3] == ["openvino", "bf16", "4", "3", "99.5%", "chosen"]


def test_a_precision_that_the_engine_lacks_is_a_mistake_of_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = run(monkeypatch, tmp_path, tmp_path / "out", "--precision=int8", "--engine=onnxruntime")
    assert code == 2
    assert "expected --precision fp32, auto with --engine=onnxruntime" in capsys.readouterr().err
