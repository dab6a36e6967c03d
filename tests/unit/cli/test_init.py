from pathlib import Path
from typing import Any

import pytest

from moorage.cli.init import command
from moorage.cli.init.kinds import KINDS, Kind


@pytest.mark.parametrize("word", KINDS)
def test_every_kind_has_what_trains_it(word: str) -> None:
    folder = Path(__file__).parents[3] / "predictors" / "moorage_predictor" / "scaffolds"
    assert "\ndef write(folder: Path, report: Report)" in (folder / f"{word}.py").read_text()


def test_a_folder_with_files_in_it_is_left_alone(moor: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, _, err = moor("init", "image", tmp_path)
    assert (code, err) == (2, f"moor: {tmp_path}: expected a new or an empty folder, found files in it\n")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_names_weights_does_not_go_with_a_model_trained_here(moor: Any, tmp_path: Path) -> None:
    code, _, err = moor("init", "image", tmp_path, "--storage-uri=s3://bucket/x")
    assert code == 2
    assert "--storage-uri" in err


def test_a_folder_does_not_go_with_a_name(moor: Any, tmp_path: Path) -> None:
    code, _, err = moor("init", "cats", tmp_path)
    assert code == 2
    assert "image" in err


def test_a_missing_library_is_named_with_what_brings_it(tmp_path: Path) -> None:
    kind = Kind(word="image", makes="nothing", needs=("torch", "no_such_library"), extras="predictor,demo")
    with pytest.raises(command.UserError, match=r"needs no_such_library: pip install 'moorage\[predictor,demo\]'"):
        command.init(kind, tmp_path)


def test_a_module_in_the_current_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "ran"
    (tmp_path / "moorage_predictor").mkdir()
    for name in ("moorage_predictor/__init__.py", "torch.py", "numpy.py", "orphans.py"):
        (tmp_path / name).write_text(f"open({str(canary)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    kind = Kind(word="no_such_kind", makes="nothing", needs=(), extras="")
    with pytest.raises(command.UserError, match="training ended with status 1"):
        command.init(kind, tmp_path / "made")
    assert not canary.exists()


def test_training_that_fails_leaves_nothing(tmp_path: Path) -> None:
    kind = Kind(word="no_such_kind", makes="nothing", needs=(), extras="")
    with pytest.raises(command.UserError, match="training ended with status 1"):
        command.init(kind, tmp_path / "made")
    assert list(tmp_path.iterdir()) == []
