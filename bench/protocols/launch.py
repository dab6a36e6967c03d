"""What the bench must know to start a server and to talk to it. `bench/peers/<peer>/launch.py` returns a `Launch`;
`servers.py` starts it; `payloads.py` has the V2 dialect that several share.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Point = Mapping[str, Any]
"""One point of a grid, such as {"workers": 2, "max_batch_size": 32}."""


@dataclass(frozen=True)
class Place:
    """What a launcher is given: its point, free ports, an empty folder and its Python."""

    point: Point
    ports: tuple[int, ...]
    folder: Path
    python: Path
    workload: str

    @property
    def http_port(self) -> int:
        return self.ports[0]


@dataclass(frozen=True)
class Launch:
    """A server to be started. `body` makes the request for one row; `floats` finds the three numbers of an answer."""

    argv: list[str]
    path: str
    body: Callable[[list[float]], bytes]
    floats: Callable[[bytes], list[float]]
    environment: dict[str, str] = field(default_factory=dict)
    grpc_port: int | None = None
