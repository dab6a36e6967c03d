"""The wheel in a bare environment: what a user gets who installs nothing but Moorage's base."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "kserve", "kubernetes", "kopf", "aiohttp", "numpy", "rich", "typer", "prometheus_client")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the wheel and its base dependencies, at the locked versions."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", ROOT], check=True, timeout=300)
    [wheel] = (folder / "dist").glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    lock = folder / "constraints.txt"  # the lock's versions without its hashes, which constraints may not have
    lock.write_text(
        "".join(
            f"{line.split(chr(92))[0]}\n"
            for line in (ROOT / "requirements.lock").read_text().splitlines()
            if "==" in line
        )
    )
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", python, "--constraint", lock, wheel], check=True, timeout=300
    )
    return folder / "env" / "bin"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, cwd="/")


def test_moor_works_without_any_extra(bare: Path) -> None:
    assert "ModelDeployment" in run(bare / "moor", "--help").stdout
    sample = ROOT / "manifests" / "samples" / "cat.yaml"
    assert run(bare / "moor", "validate", sample).stdout.strip().endswith("cat: valid")
    assert "kind: InferenceService" in run(bare / "moor", "render", sample).stdout
    assert "kind: CustomResourceDefinition" in run(bare / "moor", "crd").stdout


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("controller",), "moorage[operator]"),
        (("up", "manifests/samples/cat.yaml"), "moorage[predictor]"),
        (("apply", "manifests/samples/cat.yaml"), "moorage[cli]"),
    ],
)
def test_what_needs_an_extra_says_which(bare: Path, words: tuple[str, ...], extra: str) -> None:
    absolute = [str(ROOT / word) if word.endswith(".yaml") else word for word in words]
    done = run(bare / "moor", *absolute)
    assert done.returncode == 3
    assert f"pip install '{extra}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_contract_imports_nothing_heavy(bare: Path) -> None:
    code = f"import sys, moorage.api; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(bare / "python", "-c", code).stdout.strip() == "[]"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_the_wheel_brings_its_sample_photo_and_its_types(bare: Path) -> None:
    code = "\n".join(
        (
            "from pathlib import Path",
            "import moorage.cli, moorage",
            "photo = Path(moorage.cli.__file__).parent / 'photos' / 'chelsea.png'",
            "print(photo.exists(), (Path(moorage.__file__).parent / 'py.typed').exists())",
        )
    )
    assert run(bare / "python", "-c", code).stdout.strip() == "True True"
