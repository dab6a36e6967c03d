"""A file of the folder in which `moor` is called is run in nobody's place."""

import subprocess
import sys
from pathlib import Path

import pytest

import moorage
from moorage.api.child import python

ROOM = Path(moorage.__file__).parents[2]
HERE = ("json.py", "pydantic.py", "torch.py", "moorage.py", "moorage_predictor/__init__.py")


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that appears if one of the current folder's modules is imported."""
    ran = tmp_path / "ran"
    (tmp_path / "moorage_predictor").mkdir()
    for name in HERE:
        (tmp_path / name).write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    return ran


@pytest.mark.timeout(30)  # a new interpreter
def test_a_child_takes_no_module_from_the_current_folder(canary: Path) -> None:
    subprocess.run(python("-c", "import json, moorage_predictor"), check=True)
    assert not canary.exists()
    subprocess.run([sys.executable, "-c", "import json"], check=False)  # what it would be without
    assert canary.exists()


@pytest.mark.timeout(60)  # two new interpreters
def test_moor_serve_takes_none(canary: Path) -> None:
    moor = Path(sys.executable).with_name("moor")
    done = subprocess.run([moor, "serve", "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: moor serve ")
    assert "--model-name" in done.stdout
    assert not canary.exists()


def test_the_predictor_alone_goes_by_its_own_name() -> None:
    done = subprocess.run(python("-m", "moorage_predictor", "--nonsense"), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: moorage-predictor ")
    assert done.stderr.endswith("moorage-predictor: error: unrecognized arguments: --nonsense\n")


def test_all_children_in_our_python_are_started_so() -> None:
    sources = [*(ROOM / "operator").rglob("*.py"), *(ROOM / "predictors").rglob("*.py")]
    named = {path.relative_to(ROOM).as_posix() for path in sources if "sys.executable" in path.read_text()}
    assert (
        named
        == {
            "operator/moorage/api/child.py",
            "predictors/moorage_predictor/tasks/torchserve/configuration.py",  # what TorchServe is to start, in its own folder
        }
    )
