import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

GENERATE = Path(__file__).parents[3] / "tools" / "generate.py"


@pytest.fixture
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_files_are_what_the_generator_writes(generate: ModuleType) -> None:
    for name, text in generate.files().items():
        assert (generate.ROOT / name).read_text() == text, f"{name}: run `make generate`"


def test_check_names_the_files_that_differ_and_writes_none(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 1
    assert "differs: docs/reference/metrics.md" in capsys.readouterr().out.splitlines()
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_finds_nothing_to_do(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert generate.main() == 0
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert (generate.main(), capsys.readouterr().out) == (0, "")
