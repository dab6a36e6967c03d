import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from moorage.api import ExitCode
from moorage.cli.init import command, process
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


def test_a_disk_without_room_is_told_before_anything_is_trained(
    moor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.shutil, "disk_usage", lambda _: SimpleNamespace(total=2**16, free=2**15))
    code, out, err = moor("init", "custom", tmp_path / "made")
    assert (code, out) == (3, "")
    assert err == (
        f"moor: {tmp_path}: expected room for 16.8 MB, found 32.8 kB: make room, or name a FOLDER on another disk\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_does_not_say_how_large_it_is_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.shutil, "disk_usage", lambda _: SimpleNamespace(total=0, free=0))
    with pytest.raises(command.UserError, match="training ended with status 1"):
        command.init(Kind(word="no_such_kind", makes="nothing", needs=(), extras=""), tmp_path / "made")


def test_a_disk_that_is_full_once_all_is_trained_is_one_message_with_the_place(
    moor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any) -> list[Any]:
        Path("/dev/full").write_text("weights")
        return []

    monkeypatch.setattr(process, "train", train)
    code, _, err = moor("init", "custom", tmp_path / "made")
    assert (code, err) == (2, f"moor: {tmp_path / 'made'}: cannot be written: No space left on device\n")
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_has_said_what_was_missing_is_not_told_of_twice(
    moor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "python", lambda *_: [sys.executable, "-c", "import sys; sys.exit(3)"])
    code, _, err = moor("init", "custom", tmp_path / "made")
    assert (code, err) == (3, "")
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_cannot_write_says_where_and_leaves_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(command.UserError) as told:
        process.train(KINDS["custom"], tmp_path / "gone" / "scratch", Console(quiet=True))
    assert told.value.code == ExitCode.UNAVAILABLE
    said = capfd.readouterr().err
    assert f"moor init custom: in {tmp_path / 'gone'}: " in said
    assert "Traceback" not in said
