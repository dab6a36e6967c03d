"""The bytes of the Open Inference Protocol that the bench sends, and how an answer is read. Used by the launchers of
the servers that speak it, and by `checks.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.harness.launch import JSON, Dialect

BINARY_SHAPE = (1, 3, 224, 224)
READY = "/v2/health/ready"


def v2_body(row: list[float]) -> bytes:
    """One row as V2 JSON."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(row)], "data": row}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()


def v2_floats(answer: bytes) -> list[float]:
    """The first output, flat."""
    return flat(json.loads(answer)["outputs"][0]["data"])


def v2(path: str, headers: Mapping[str, str] | None = None) -> Dialect:
    """How the servers that speak V2 are asked; `headers` go with each request besides that of JSON."""
    return Dialect(path, v2_body, v2_floats, {**JSON, **(headers or {})})


def flat(value: Any) -> list[float]:
    """Nested lists of numbers as one list."""
    return [number for item in value for number in flat(item)] if isinstance(value, list) else [value]


@dataclass(frozen=True)
class BinaryRequest:
    """A tensor behind a JSON header, as the binary data extension has it."""

    body: bytes
    json_length: int
    tensor: bytes


def binary_request(tensor: bytes) -> BinaryRequest:
    """FP32 values of `BINARY_SHAPE`, wanted back in binary."""
    described = {
        "name": "x",
        "datatype": "FP32",
        "shape": list(BINARY_SHAPE),
        "parameters": {"binary_data_size": len(tensor)},
    }
    header = json.dumps(
        {"inputs": [described], "parameters": {"binary_data_output": True}}, separators=(",", ":")
    ).encode()
    return BinaryRequest(header + tensor, len(header), tensor)
