"""bench/protocols.toml as dataclasses, and the best points that an earlier sweep found. Read once, by `__main__.py`."""

import itertools
import json
import tomllib
from dataclasses import dataclass
from typing import Any

from bench.protocols import paths
from bench.protocols.errors import BadInput

Point = dict[str, Any]
ROLES = ("ours", "option", "kserve", "peer", "limit")
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
    table = tomllib.loads(paths.GRID.read_text())
    settings = Settings(**table["load"])
    entrants = tuple(_entrant(entry, settings) for entry in table["entrants"])
    return Plan(settings, {name: tuple(part["connections"]) for name, part in table["workloads"].items()}, entrants)


def _entrant(entry: dict[str, Any], settings: Settings) -> Entrant:
    if entry["role"] not in ROLES:
        raise BadInput(f"{paths.GRID.name}: {entry['name']}: expected a role of {ROLES}, found {entry['role']!r}")
    grid = entry["grid"]
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return Entrant(
        name=entry["name"],
        peer=entry["peer"],
        role=entry["role"],
        workloads=tuple(entry["workloads"]),
        points=(*points, *entry.get("also", [])),
        warmup_s=entry.get("warmup_s", settings.warmup_s),
    )


def committed_best(entrants: tuple[Entrant, ...]) -> dict[str, Point]:
    """The points that an earlier sweep chose, for --skip-sweep."""
    known = json.loads(BEST_POINTS.read_text()) if BEST_POINTS.exists() else {}
    chosen = {}
    for entrant in entrants:
        if len(entrant.points) == 1:
            chosen[entrant.name] = entrant.points[0]
        elif known.get(entrant.name) in entrant.points:
            chosen[entrant.name] = known[entrant.name]
        else:
            raise BadInput(
                f"--skip-sweep: {BEST_POINTS.name} has no point of today's grid for {entrant.name}; run without it, "
                f"with --save-best-points"
            )
    return chosen


def save_best(best: dict[str, Point]) -> None:
    """For later runs with --skip-sweep; entrants that did not take part keep theirs."""
    known = json.loads(BEST_POINTS.read_text()) if BEST_POINTS.exists() else {}
    BEST_POINTS.parent.mkdir(exist_ok=True)
    BEST_POINTS.write_text(json.dumps(dict(sorted({**known, **best}.items())), indent=2) + "\n")
