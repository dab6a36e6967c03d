"""Is every answer right? Before and after each measured stretch; `load.lua` and `grpcload` look during it.

Raises `WrongAnswer`, which ends the bench: a fast wrong answer is not a figure.
"""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.harness import paths
from bench.harness.errors import WrongAnswer
from bench.harness.servers import Server, close
from bench.protocols.payloads import BinaryRequest

ROWS = 32
AT_ONCE = 16


@dataclass(frozen=True)
class Truth:
    """Rows that differ and what the network makes of them; the first is the row of the load."""

    rows: list[list[float]]
    answers: list[list[float]]


def truth() -> Truth:
    """Computed in a process of its own, so that torch does not live in the client."""
    command = [str(paths.PRODUCT_PYTHON), "-m", "bench.models.network", str(ROWS)]
    done = subprocess.run(command, cwd=paths.ROOT, check=True, capture_output=True, text=True)
    return Truth(**json.loads(done.stdout))


def tiny(server: Server, wanted: Truth) -> None:
    """Many different rows at once: whoever batches must not mix them up."""
    dialect = server.launch.first

    def ask(row: list[float], expected: list[float]) -> None:
        status, _, answer = server.post(dialect, dialect.body(row))
        if status != 200 or not close(dialect.read(answer), expected):
            raise WrongAnswer(f"{row}: expected {expected}, got {status} {answer[:300]!r}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ask, wanted.rows, wanted.answers))


def binary(server: Server, request: BinaryRequest) -> None:
    """The very bytes that were sent, behind a JSON header that names their number."""
    headers = {
        "Inference-Header-Content-Length": str(request.json_length),
        "Content-Type": "application/octet-stream",
    }
    status, answered, answer = server.post(server.launch.first, request.body, headers)
    length = int(answered.get("inference-header-content-length", -1))
    if status != 200 or length < 0 or answer[length:] != request.tensor:
        raise WrongAnswer(f"binary: expected {len(request.tensor)} bytes back, got {status} {answer[:300]!r}")
    size = json.loads(answer[:length])["outputs"][0]["parameters"]["binary_data_size"]
    if size != len(request.tensor):
        raise WrongAnswer(f"binary: expected binary_data_size {len(request.tensor)}, got {size}")
