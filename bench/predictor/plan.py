"""bench/predictor.toml as dataclasses, and the best points that an earlier sweep found. Read once, by `__main__.py`."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bench.harness import grid, paths
from bench.harness.errors import BadInput
from bench.harness.grid import Point
from bench.predictor.processes import Split

FILE = paths.BENCH / "predictor.toml"
BEST_POINTS = paths.BENCH / "results" / "best_points_predictor.json"
ROLES = ("ours", "peer")
PEER_TOLERANCE = 0.002


@dataclass(frozen=True)
class Settings:
    """How long, how often, how strict."""

    repetitions: int
    duration_s: float
    side_duration_s: float
    sweep_duration_s: float
    limit_duration_s: float
    beside_duration_s: float
    warmup_s: float
    open_share: float
    foreign_cores: float
    attempts: int


@dataclass(frozen=True)
class Entrant:
    """One row of the result. `engine` are the settings that its limit has as well; peers have none, and one limit."""

    name: str
    peer: str
    role: str
    points: tuple[Point, ...]
    engine: Point | None
    warmup_s: float
    tolerance: float
    has_open_loop: bool

    @property
    def is_ours(self) -> bool:
        return self.role == "ours"


@dataclass(frozen=True)
class Plan:
    """The whole file."""

    settings: Settings
    models: tuple[str, ...]
    connections: tuple[int, ...]
    judged: tuple[int, ...]
    splits: tuple[Split, ...]
    one_image: Split
    entrants: tuple[Entrant, ...]

    @property
    def most_connections(self) -> int:
        """At which a sweep looks, and of which an open loop takes its share."""
        return max(self.connections)


def read() -> Plan:
    """The committed plan."""
    table = tomllib.loads(FILE.read_text())
    settings = Settings(**table["load"])
    images, limit = table["images"], table["limit"]
    return Plan(
        settings=settings,
        models=tuple(images["models"]),
        connections=tuple(images["connections"]),
        judged=tuple(images["judged"]),
        splits=tuple(limit["splits"]),
        one_image=limit["one_image"],
        entrants=tuple(_entrant(entry, settings) for entry in table["entrants"]),
    )


def _entrant(entry: dict[str, Any], settings: Settings) -> Entrant:
    if entry["role"] not in ROLES:
        raise BadInput(f"{FILE.name}: {entry['name']}: expected a role of {ROLES}, found {entry['role']!r}")
    if ("engine" in entry) != (entry["role"] == "ours"):
        raise BadInput(f"{FILE.name}: {entry['name']}: expected an engine for ours, and none for peers")
    return Entrant(
        name=entry["name"],
        peer=entry["peer"],
        role=entry["role"],
        points=tuple(entry.get("engine", {}) | point for point in grid.points(entry)),
        engine=entry.get("engine"),
        warmup_s=entry.get("warmup_s", settings.warmup_s),
        tolerance=entry.get("tolerance", PEER_TOLERANCE),
        has_open_loop=entry.get("open", False),
    )


Best = dict[str, Point]
"""The points that repetitions run at, by `key`; of a limit, {"split": [workers, threads, batch]}."""


def key(name: str, model: str) -> str:
    return f"{name}/{model}"


def limit_of(entrant: Entrant) -> str:
    """The limit of an entrant of ours; of peers there is one for all."""
    return f"limit-{entrant.name}" if entrant.is_ours else "limit-peers"


def limits(entrants: Iterable[Entrant]) -> dict[str, Entrant]:
    """One entrant for each limit."""
    return {limit_of(entrant): entrant for entrant in entrants}


def grids(plan: Plan, entrants: Iterable[Entrant], models: Iterable[str]) -> dict[str, list[Point]]:
    """Every point that a sweep tries, by key."""
    taking_part, models = tuple(entrants), tuple(models)
    splits = [{"split": split} for split in plan.splits]
    found = {key(one.name, model): list(one.points) for one in taking_part for model in models}
    return found | {key(name, model): list(splits) for name in limits(taking_part) for model in models}


def committed_best(plan: Plan, entrants: Iterable[Entrant], models: Iterable[str]) -> Best:
    """The points that an earlier sweep chose, for --skip-sweep."""
    return grid.committed_best(grids(plan, entrants, models), BEST_POINTS)


def first_points(plan: Plan, entrants: Iterable[Entrant], models: Iterable[str]) -> Best:
    """For --quick: the first of each grid; of a limit the last, which is most often the best."""
    found = {name: points[0] for name, points in grids(plan, entrants, models).items()}
    return found | {name: {"split": plan.splits[-1]} for name in found if name.startswith("limit-")}


def save_best(best: Best) -> None:
    """For later runs with --skip-sweep; what did not take part keeps its point."""
    grid.save_best(best, BEST_POINTS)
