"""bench/protocols.toml as dataclasses, and the best points that an earlier sweep found. Read once, by `__main__.py`."""

import tomllib
from dataclasses import dataclass
from typing import Any

from bench.harness import grid, paths
from bench.harness.errors import BadInput
from bench.harness.grid import Point

ROLES = ("ours", "option", "bare", "guarded", "kserve", "peer", "limit")
GRID = paths.BENCH / "protocols.toml"
BEST_POINTS = paths.BENCH / "results" / "best_points.json"


@dataclass(frozen=True)
class Settings:
    """How long, how often, how strict."""

    repetitions: int
    duration_s: float
    side_duration_s: float
    sweep_duration_s: float
    warmup_s: float
    foreign_cores: float
    attempts: int


@dataclass(frozen=True)
class Entrant:
    """One row of the result."""

    name: str
    peer: str
    role: str
    workloads: tuple[str, ...]
    points: tuple[Point, ...]
    warmup_s: float


@dataclass(frozen=True)
class Plan:
    """The whole file."""

    settings: Settings
    connections: dict[str, tuple[int, ...]]
    entrants: tuple[Entrant, ...]

    def headline(self, workload: str) -> int:
        """The connections at which a workload is judged."""
        return self.connections[workload][-1]


def read() -> Plan:
    """The committed plan."""
    table = tomllib.loads(GRID.read_text())
    settings = Settings(**table["load"])
    entrants = tuple(_entrant(entry, settings) for entry in table["entrants"])
    return Plan(settings, {name: tuple(part["connections"]) for name, part in table["workloads"].items()}, entrants)


def _entrant(entry: dict[str, Any], settings: Settings) -> Entrant:
    if entry["role"] not in ROLES:
        raise BadInput(f"{GRID.name}: {entry['name']}: expected a role of {ROLES}, found {entry['role']!r}")
    return Entrant(
        name=entry["name"],
        peer=entry["peer"],
        role=entry["role"],
        workloads=tuple(entry["workloads"]),
        points=grid.points(entry),
        warmup_s=entry.get("warmup_s", settings.warmup_s),
    )


def committed_best(entrants: tuple[Entrant, ...]) -> dict[str, Point]:
    """The points that an earlier sweep chose, for --skip-sweep."""
    return grid.committed_best({entrant.name: entrant.points for entrant in entrants}, BEST_POINTS)


def save_best(best: dict[str, Point]) -> None:
    """For later runs with --skip-sweep; entrants that did not take part keep theirs."""
    grid.save_best(best, BEST_POINTS)
