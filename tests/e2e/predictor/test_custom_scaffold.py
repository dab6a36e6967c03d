"""`moor init custom`: a class that works as it is, with a test that passes, served from its own folder."""

import io
import json
import subprocess
import sys

import pytest
import yaml
from PIL import Image
from tests.e2e.up.test_up import environment, moor, ports

from moorage_predictor.scaffolds.nearest import Nearest

pytestmark = pytest.mark.timeout(120)  # starts several processes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, and what the command said."""
    folder = tmp_path_factory.mktemp("init") / "my class"
    done = moor("init", "custom", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def here(folder, *command):
    words = [sys.executable, "-m", *command]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment())


def test_it_says_what_it_did_and_what_comes_next(made):
    folder, said = made
    lines = said.splitlines()
    assert lines[lines.index("next:") + 1 :] == [
        f"  cd '{folder}'",
        "  pip install pytest",
        "  python -m pytest test_nearest.py",
        "  moor up digits.yaml --model-root digits --photo digits-samples/seven.png",
    ]
    (measured,) = (line for line in lines if line.startswith("digits: accuracy"))
    assert float(measured.split()[2]) >= 0.97
    assert yaml.safe_load((folder / "digits.yaml").read_text())["spec"]["model"]["class"] == "nearest:Nearest"


def test_the_test_that_comes_with_it_passes(made):
    done = here(made[0], "pytest", "-q", "-p", "no:cacheprovider", "test_nearest.py")
    assert (done.returncode, done.stdout.splitlines()[-1][:8]) == (0, "2 passed"), done.stdout


def test_a_picture_that_would_fill_the_memory_is_the_callers_mistake(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    written = io.BytesIO()
    Image.new("L", (30, 30)).save(written, "PNG")
    with pytest.raises(ValueError, match="expected a PNG or JPEG file"):
        Nearest().decode(written.getvalue())


def test_moor_up_serves_it(made):
    command = ["up", "digits.yaml", "--model-root", "digits", "--photo", "digits-samples/seven.png", "--once"]
    done = here(made[0], "moorage", *command, *ports())
    assert done.returncode == 0, done.stderr
    answer = done.stdout[done.stdout.index("\n{") : done.stdout.index("\n}") + 2]
    assert json.loads(answer) == {"digit": 7, "votes": 1.0}
    assert '"parameters":{"content_type":"base64"}' in done.stdout  # without which V2 would bring the class text
