"""How one JPEG is asked about, and where the answer has its classes. Used by the launchers for the workload `images`.

| protocol | body                                                           | who speaks it                           |
|----------|----------------------------------------------------------------|-----------------------------------------|
| v1       | {"instances": [{"b64": "..."}]}                                | all but MLServer, some at their own path|
| v2       | a JSON header, the file's length in 4 bytes, the file          | ours                                    |
| v2 JSON  | BYTES, the file in base64; stands in the tables as v1's peer   | MLServer                                |
"""

import base64
import json
import struct
from typing import Any

from bench.harness.launch import Dialect, Place

MODEL = "photos"
JSON_LENGTH = 256
"""The header is padded to this, so that one HTTP header fits every file."""

Classes = list[tuple[int, float]]
"""Numbers of the best classes and their probabilities, best first."""


def environment(place: Place) -> dict[str, str]:
    """Where the model is, and torch's threads, for `bench.models.images.classifier`."""
    threads = str(place.point["torch_threads"])
    return {"BENCH_IMAGE_MODEL": str(place.model), "BENCH_TORCH_THREADS": threads, "OMP_NUM_THREADS": threads}


def v1(path: str) -> dict[str, Dialect]:
    """The V1 body, at whatever path."""
    return {"v1": Dialect(path, v1_body, v1_classes)}


def v1_and_v2() -> dict[str, Dialect]:
    """Of servers that speak both."""
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(JSON_LENGTH)}
    binary = Dialect(f"/v2/models/{MODEL}/infer", v2_binary_body, v2_classes, headers)
    return v1(f"/v1/models/{MODEL}:predict") | {"v2": binary}


def v2_json() -> dict[str, Dialect]:
    """Of a server that speaks V2 without the binary extension."""
    return {"v1": Dialect(f"/v2/models/{MODEL}/infer", v2_json_body, v2_classes)}


def v1_body(file: bytes) -> bytes:
    return json.dumps({"instances": [{"b64": _base64(file)}]}, separators=(",", ":")).encode()


def v2_binary_body(file: bytes) -> bytes:
    element = struct.pack("<I", len(file)) + file
    size = {"binary_data_size": len(element)}
    header = json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": size}]})
    return header.encode().ljust(JSON_LENGTH) + element


def v2_json_body(file: bytes) -> bytes:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [_base64(file)]}
    return json.dumps({"inputs": [tensor | {"parameters": {"content_type": "base64"}}]}, separators=(",", ":")).encode()


def v1_classes(answer: bytes) -> Classes:
    """Of {"predictions": [[...]]}, of a bare [[...]], and of ours, which has a dictionary around the inner list."""
    found = json.loads(answer)
    first: Any = (found["predictions"] if isinstance(found, dict) else found)[0]
    best = first["predictions"] if isinstance(first, dict) else first
    return [(one["class_id"], one["confidence"]) for one in best]


def v2_classes(answer: bytes) -> Classes:
    outputs = {output["name"]: _flat(output["data"]) for output in json.loads(answer)["outputs"]}
    return list(zip(outputs["class_id"], outputs["confidence"], strict=True))


def _flat(value: Any) -> list[Any]:
    return [number for item in value for number in _flat(item)] if isinstance(value, list) else [value]


def _base64(file: bytes) -> str:
    return base64.b64encode(file).decode()
