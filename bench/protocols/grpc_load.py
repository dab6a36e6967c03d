"""gRPC load by a small Go program of this repository, bench/tools/grpcload, which sends bytes and compares every answer.

ghz would be the usual client. It encodes and decodes each message by reflection, which takes more CPU from the server
beside it, and it cannot compare answers. Called by `campaign.py` through `meter.py`; the binary is built once and cached.
"""

import hashlib
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

from bench.protocols import paths
from bench.protocols.errors import NotThere
from bench.protocols.load import Load

MODULE = paths.BENCH / "tools"


def binary() -> Path:
    """The client, built first where it is not there."""
    sources = sorted(file for file in MODULE.rglob("*") if file.suffix in (".go", ".mod", ".sum"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:12]
    target = paths.cache() / f"grpcload-{digest}"
    if not target.exists():
        go = shutil.which("go")
        if go is None:
            raise NotThere(
                "the gRPC client is built with Go 1.26, and go is not on PATH; or leave out --workloads grpc"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(f".{os.getpid()}")
        command = [go, "-C", MODULE, "build", "-trimpath", "-o", unfinished, "./grpcload"]
        environment = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0"} | os.environ
        done = subprocess.run(
            [str(word) for word in command], env=environment, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise NotThere(f"go could not build bench/tools/grpcload:\n{done.stderr[-3000:]}")
        unfinished.rename(target)
    return target


def request(model: str, row: list[float]) -> bytes:
    """ModelInfer for one row, the values in raw_input_contents."""
    from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

    tensor = ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, len(row)])
    return ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[struct.pack(f"<{len(row)}f", *row)]
    ).SerializeToString()


def run(port: int, body: bytes, expected: list[float], callers: int, seconds: float, folder: Path) -> Load:
    """Load for some seconds; every answer must hold the expected values."""
    (folder / "request").write_bytes(body)
    (folder / "values").write_bytes(struct.pack(f"<{len(expected)}f", *expected))
    command = [binary(), f"-address=127.0.0.1:{port}", f"-callers={callers}", f"-duration={seconds}s"]
    command += [f"-request={folder / 'request'}", f"-expected={folder / 'values'}"]
    environment = os.environ | {"GOMAXPROCS": "1", "GOGC": "400"}
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    if done.returncode != 0:
        raise NotThere(f"the gRPC client failed: {done.stderr[-1500:]}")
    return Load(**json.loads(done.stdout))
