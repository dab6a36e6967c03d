"""What the bench must know to start a server and to talk to it. `bench/peers/<peer>/launch.py` returns a `Launch`;
`servers.py` starts it; `protocols/payloads.py` and `predictor/dialects.py` have the dialects that several share.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Point = Mapping[str, Any]
"""One point of a grid, such as {"workers": 2, "max_batch_size": 32}."""

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Place:
    """What a launcher is given: its point, free ports, an empty folder, its Python, and what it is to serve.

    `workload` is "tiny", "identity" or "images"; `model` is the folder of the network that classifies images.
    """

    point: Point
    ports: tuple[int, ...]
    folder: Path
    python: Path
    workload: str
    model: Path | None = None

    @property
    def http_port(self) -> int:
        return self.ports[0]


@dataclass(frozen=True)
class Dialect:
    """How a server is asked over HTTP: `body` makes the request for one row or file, `read` finds what it became."""

    path: str
    body: Callable[[Any], bytes]
    read: Callable[[bytes], Any]
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


@dataclass(frozen=True)
class Launch:
    """A server to be started, and the dialects it speaks, by workload or protocol; the first answer is asked for in the first.

    `ready` is a path that answers 200 once it is: until then nothing larger is sent, which would take its time from its start.
    """

    argv: list[str]
    dialects: Mapping[str, Dialect]
    environment: dict[str, str] = field(default_factory=dict)
    grpc_port: int | None = None
    ready: str | None = None

    @property
    def first(self) -> Dialect:
        return next(iter(self.dialects.values()))
