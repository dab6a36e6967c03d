"""Where etcd, kube-apiserver, kube-controller-manager and kubectl come from.

KUBEBUILDER_ASSETS first, then tools/build_control_plane.py. Called before the first cluster test (a cold build is
longer than any test's time limit) and by the fixture, which turns `Unavailable` into a skip with its reason.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD_SCRIPT = REPOSITORY / "tools" / "build_control_plane.py"
BUILD_TIMEOUT_S = 3600


class Unavailable(Exception):
    """No control plane can be had here; the message is the reason of the skip."""


@dataclass(frozen=True)
class Binaries:
    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kubectl: Path


def find() -> Binaries:
    """The four binaries; builds them, minutes long, if neither assets nor an earlier build hold them."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    folders = [Path(assets)] if assets else []
    if assets and not Path(assets).is_dir():
        raise Unavailable(f"KUBEBUILDER_ASSETS: expected a folder, found none at {assets}")
    if not assets or _in(folders, "kube-controller-manager") is None or _in(folders, "kubectl") is None:
        folders.append(_built())
    found = {name: _in(folders, name) for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise Unavailable(f"expected {', '.join(missing)} in {', '.join(map(str, folders))}, found none")
    return Binaries(**{name.replace("-", "_"): path for name, path in found.items() if path is not None})


def _in(folders: list[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if os.access(folder / name, os.X_OK)), None)


def _built() -> Path:
    folder = _build_script("--where")
    if all(os.access(folder / name, os.X_OK) for name in ("etcd", "kube-apiserver", "kube-controller-manager")):
        return folder
    if shutil.which("go") is None:
        raise Unavailable("no control plane: no KUBEBUILDER_ASSETS, no MOORAGE_TEST_KUBECONFIG and no Go to build one")
    return _build_script()


def _build_script(*arguments: str) -> Path:
    """The script reports progress on stderr, which stays the terminal's, and its one result on stdout."""
    done = subprocess.run(
        [sys.executable, str(BUILD_SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable("no control plane: tools/build_control_plane.py failed, its messages are above")
    return Path(done.stdout.strip().splitlines()[-1])
