"""What another model costs: one predictor, four resnet18s of a model repository asked one after the other, then unloaded.

    python -m bench.many_models

Prints a table of the process's memory in MiB, a few seconds after the last answer each time. Weights are random: they
weigh as much as others.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import psutil
from bench.harness.footprint import Footprint, footprint
from bench.harness.paths import ROOT
from tests.control_plane.process import free_ports

MODELS: Final = 4
ANSWERS: Final = 20
SETTLE_S: Final = 8.0
"""From the last answer until a model has measured the cores and given back what that took."""
START_S: Final = 60.0
PHOTO: Final = ROOT / "tests" / "data" / "photos" / "rocket.jpg"


def make_models(root: Path) -> int:
    """Version 1 of `model-0`, `model-1`, ...; gives the bytes of one's weights."""
    import timm
    import torch
    from safetensors.torch import save_file

    for number in range(MODELS):
        folder = root / f"model-{number}" / "1"
        folder.mkdir(parents=True)
        torch.manual_seed(number)
        save_file(timm.create_model("resnet18").state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", "num_classes": 1000}))
    return (folder / "model.safetensors").stat().st_size


class Predictor:
    """One process."""

    def __init__(self, root: Path) -> None:
        http_port, grpc_port = free_ports(2)
        ports = [f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
        options = ["--task=image-classification", f"--model-repository={root}", "--control-endpoints=true"]
        command = [sys.executable, "-m", "moorage_predictor", *options, *ports]
        self._url = f"http://127.0.0.1:{http_port}"
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def wait(self) -> None:
        """Until it is ready."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                with urllib.request.urlopen(f"{self._url}/v2/health/ready"):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def post(self, path: str, body: bytes = b"") -> None:
        headers = {"Content-Type": "image/jpeg"} if body else {}
        with urllib.request.urlopen(urllib.request.Request(self._url + path, body, headers)) as answer:
            answer.read()

    def memory(self) -> Footprint:
        """Once it has settled."""
        time.sleep(SETTLE_S)
        return footprint([psutil.Process(self.process.pid)])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def main() -> None:
    """See the module."""
    photo = PHOTO.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        weights = make_models(Path(folder))
        predictor = Predictor(Path(folder))
        try:
            predictor.wait()
            rows = [("none", predictor.memory())]
            for number in range(MODELS):
                for _ in range(ANSWERS):
                    predictor.post(f"/v1/models/model-{number}:predict", photo)
                rows.append((str(number + 1), predictor.memory()))
            for number in range(MODELS - 1, 0, -1):
                predictor.post(f"/v2/repository/models/model-{number}/unload")
            rows.append(("1, the others unloaded", predictor.memory()))
        finally:
            predictor.stop()
    print(f"weights of one: {weights / 1024**2:.1f} MiB")
    print("| in memory | PSS, MiB | RSS, MiB |\n|---|---|---|")
    for label, found in rows:
        print(f"| {label} | {found.pss_mib} | {found.rss_mib} |")


if __name__ == "__main__":
    main()
