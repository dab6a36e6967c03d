"""The two servers of the conformance tests, as processes on free loopback ports, both serving the same class."""

import http.client
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.control_plane.process import Process, free_ports

from moorage.cli.conformance import Target

MODEL = "identity"
TASK = "moorage_predictor.examples.identity"
_PATIENCE_S = 120


class Server:
    """A process that serves `model`; `target` is what the suite asks."""

    def __init__(self, name: str, command: Sequence[str], ports: tuple[int, int], log: Path, model: str) -> None:
        self._process = Process(name, [sys.executable, "-m", *command], log)
        self._http_port = ports[0]
        self._wait(f"/v2/models/{model}/ready")
        self.target = Target(f"http://127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", identity=model)

    def close(self) -> None:
        self.target.close()
        self._process.stop()

    def _wait(self, path: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            self._process.check()
            connection = http.client.HTTPConnection("127.0.0.1", self._http_port, timeout=10)
            try:
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.1)
            finally:
                connection.close()
        raise AssertionError(f"{path} never answered 200: {self._process.log_tail()}")


def ours(folder: Path, cls: str = "Identity", *more: str) -> Server:
    """Our predictor, with everything that may be turned on, and further options."""
    http_port, grpc_port = free_ports(2)
    options = [f"--task={TASK}:{cls}", f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    command = ["moorage_predictor", f"--model-name={MODEL}", *options, "--control-endpoints=true", *more]
    return Server("our predictor", command, (http_port, grpc_port), folder / f"{cls}.log", MODEL)


def of_kserve(folder: Path) -> Server:
    """KServe's ModelServer."""
    http_port, grpc_port = free_ports(2)
    command = ["tests.e2e.conformance.kserve_server", str(http_port), str(grpc_port)]
    return Server("KServe's ModelServer", command, (http_port, grpc_port), folder / "kserve.log", MODEL)
