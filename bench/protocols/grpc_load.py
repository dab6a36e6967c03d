"""gRPC load by a small Go program of this repository, bench/tools/grpcload, which sends bytes and compares every answer.

ghz would be the usual client. It encodes and decodes each message by reflection, which takes more CPU from the server
beside it, and it cannot compare answers. Called by `campaign.py` through `meter.py`.
"""

import json
import os
import struct
import subprocess
from pathlib import Path

from bench.harness import go_tools
from bench.harness.errors import NotThere
from bench.harness.load import Load


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
    command = [go_tools.built("grpcload"), f"-address=127.0.0.1:{port}", f"-callers={callers}", f"-duration={seconds}s"]
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
