"""Build the real control plane of the cluster tests: etcd, kube-apiserver, kube-controller-manager and kubectl.

Called by `make` and by the test fixture. Progress goes to stderr; the last and only line of stdout is the folder that
holds the four binaries. They are cached outside the repository under a name made from everything that can change them
(both go.mod and go.sum, the flags, the platform), so a second call takes no time and needs no Go.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
PROGRESS_EVERY_S = 20.0


@dataclass(frozen=True)
class Target:
    """One binary: the Go module that pins it (a folder of tools/) and its main package."""

    binary: str
    module: str
    package: str


TARGETS = (
    Target("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Target("kube-apiserver", "kube", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Target("kube-controller-manager", "kube", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    Target("kubectl", "kube", "k8s.io/kubernetes/cmd/kubectl"),
)


class BuildError(Exception):
    """The binaries could not be built; the message says what a person can do."""


def kubernetes_version() -> str:
    """The Kubernetes release that tools/kube/go.mod pins, such as `1.34.4`."""
    text = (TOOLS / "kube" / "go.mod").read_text()
    found = re.search(r"^\s*(?:require\s+)?k8s\.io/kubernetes v(\d+\.\d+\.\d+)", text, re.MULTILINE)
    if found is None:
        raise BuildError("tools/kube/go.mod: expected a requirement on k8s.io/kubernetes vX.Y.Z, found none")
    return found.group(1)


def flags(module: str) -> tuple[str, ...]:
    """The build flags of one module; without the -X values every binary would call itself v0.0.0."""
    ldflags = "-s -w"
    if module == "kube":
        version = kubernetes_version()
        major, minor, _ = version.split(".")
        values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        ldflags += "".join(f" -X k8s.io/component-base/version.{key}={value}" for key, value in values.items())
    return ("-p", "2", "-trimpath", "-buildvcs=false", "-ldflags", ldflags)


def cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "moorage" / "control-plane"


def cache_dir() -> Path:
    """Where the binaries of this very go.mod, go.sum, flags and platform stand, built or not."""
    digest = hashlib.sha256()
    for module in sorted({target.module for target in TARGETS}):
        for name in ("go.mod", "go.sum"):
            digest.update((TOOLS / module / name).read_bytes())
        digest.update(repr(flags(module)).encode())
    digest.update(repr(TARGETS).encode())
    digest.update(f"{platform.system()} {platform.machine()}".encode())
    return cache_root() / digest.hexdigest()[:16]


def is_complete(directory: Path) -> bool:
    return all(os.access(directory / target.binary, os.X_OK) for target in TARGETS)


def say(message: str) -> None:
    print(f"control plane: {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Two runs at once build once: the second waits for the first, then finds its result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build holds {path.name}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_one(go: str, target: Target, output: Path, label: str) -> None:
    """One `go build`, with a line now and then so that nobody takes five quiet minutes for a hang."""
    environment = os.environ | {"CGO_ENABLED": "0"}
    environment.setdefault("GOTOOLCHAIN", "local")
    command = [go, "-C", str(TOOLS / target.module), "build", *flags(target.module)]
    command += ["-o", str(output / target.binary), target.package]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        while True:
            try:
                status = process.wait(timeout=PROGRESS_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                say(f"{label} {target.binary}: still building after {time.perf_counter() - started:.0f} s")
            except BaseException:
                process.kill()
                process.wait()
                raise
        if status != 0:
            log.seek(0)
            raise BuildError(f"go build {target.package} ended with status {status}:\n{log.read()[-4000:]}")
    say(f"{label} {target.binary}: built in {time.perf_counter() - started:.0f} s")


def build(force: bool = False) -> Path:
    """Return the folder with the binaries, building them first if they are not there."""
    directory = cache_dir()
    if is_complete(directory) and not force:
        return directory
    go = shutil.which("go")
    if go is None:
        raise BuildError("Go is not on PATH; install it, or point KUBEBUILDER_ASSETS at a folder with the binaries")
    with locked(directory.with_suffix(".lock")):
        if is_complete(directory) and not force:
            return directory
        say(f"building Kubernetes {kubernetes_version()} into {directory} (about 5 minutes the first time)")
        unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            for number, target in enumerate(TARGETS, start=1):
                build_one(go, target, unfinished, f"{number}/{len(TARGETS)}")
            shutil.rmtree(directory, ignore_errors=True)
            unfinished.chmod(0o755)
            unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", action="store_true", help="print the folder and build nothing")
    parser.add_argument("--force", action="store_true", help="build even if the binaries are there")
    arguments = parser.parse_args()
    try:
        print(cache_dir() if arguments.where else build(force=arguments.force))
    except BuildError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
