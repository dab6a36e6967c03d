"""The parsers under atheris, in a process of its own."""

import json
import struct
import subprocess
import sys

import pytest
from tests.e2e.predictor.conftest import ROOT
from tests.fuzz.budget import SECONDS

from moorage.api.oip import open_inference_pb2 as pb


def corpus():
    """Requests that are in order, to begin with."""
    part = struct.pack("<I", 3) + b"abc"
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1]}
    for document, rest in (
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2.5]}], "id": "7"}, b""),
        ({"inputs": [{**tensor, "parameters": {"binary_data_size": len(part)}}]}, part),
        ({"inputs": [{**tensor, "data": ["a"]}], "outputs": [{"name": "x", "parameters": {"binary_data": True}}]}, b""),
    ):
        head = json.dumps(document).encode()
        yield struct.pack("<H", len(head)) + head + rest
    message = pb.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[part])
    yield b"\0\0" + message.SerializeToString()
    message = pb.ModelInferRequest(inputs=[{**tensor, "contents": {"bytes_contents": [b"a"]}}])
    yield b"\0\0" + message.SerializeToString()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="atheris is for Linux")
def test_no_bytes_make_a_parser_fail_otherwise_than_by_our_errors(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, data in enumerate(corpus()):
        (folder / str(number)).write_bytes(data)
    done = subprocess.run(
        [
            sys.executable, "-m", "tests.fuzz.atheris_decode", str(folder), f"-max_total_time={round(SECONDS)}",
            "-timeout=10", "-rss_limit_mb=4096", f"-artifact_prefix={tmp_path}/", "-print_final_stats=1", "-verbosity=0",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    (runs,) = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    assert int(runs.split()[-1]) > 100
