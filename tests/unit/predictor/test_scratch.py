"""What is temporary goes with its process, however that ends."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from moorage_predictor.scratch import scratch

_LIVES = """
import sys
from pathlib import Path
from moorage_predictor.scratch import scratch
with scratch() as folder:
    Path(folder, "weights").write_bytes(b"x" * 100)
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def another(place):
    process = subprocess.Popen(
        [sys.executable, "-c", _LIVES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(place), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    process.folder = Path(process.stdout.readline().strip())
    yield process
    process.kill()
    process.communicate()


def test_at_the_end_of_the_process_nothing_is_left(place, another):
    another.communicate("")
    assert another.returncode == 0
    assert list(place.iterdir()) == []


def test_what_a_killed_process_has_left_goes_when_the_next_one_starts(another):
    another.send_signal(signal.SIGKILL)
    another.wait()
    assert (another.folder / "weights").exists()
    with scratch():
        assert not another.folder.exists()


def test_what_a_living_process_has_stays(another):
    with scratch() as mine:
        assert (another.folder / "weights").exists()
        assert Path(mine) != another.folder
    assert (another.folder / "weights").exists()


def test_a_link_or_a_file_of_that_name_is_left_alone(place):
    kept = place / "kept"
    kept.mkdir()
    (place / "moor-run-link").symlink_to(kept)
    (place / "moor-run-file").write_text("mine")
    with scratch():
        assert {path.name for path in place.iterdir()} >= {"kept", "moor-run-link", "moor-run-file"}


@pytest.mark.parametrize(("module", "name"), [(os, "open"), (fcntl, "flock")])
def test_a_folder_that_another_took_for_a_dead_ones_is_made_again(place, monkeypatch, module, name):
    """Which it may do until there is a lock."""
    called, gone = getattr(module, name), []

    def call(*words, **options):
        if not gone:
            gone.extend(place.glob("moor-run-*"))
            shutil.rmtree(gone[0])
        return called(*words, **options)

    monkeypatch.setattr(module, name, call)
    with scratch() as folder:
        assert Path(folder).is_dir()
        assert [Path(folder)] != gone
