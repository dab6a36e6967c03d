"""Rows of all repetitions -> medians, for the tables. Pure; the ratios are `ratios.py`'s."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.harness.footprint import Footprint
from bench.predictor.plan import Entrant
from bench.predictor.rows import Rows, Stretch

LATENCIES = ("p50_ms", "p95_ms", "p99_ms")


@dataclass(frozen=True)
class Median:
    """What one entrant did with one network, in one protocol, at one load, over the repetitions."""

    entrant: str
    role: str
    point: dict[str, object]
    model: str
    protocol: str
    connections: int
    rate_per_s: float
    images_per_s: float
    spread: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    server_cores: float
    client_cores: float
    disturbed: int
    repetitions: int


@dataclass(frozen=True)
class Process:
    """Starts and memory of one entrant with one network, over the repetitions; the floor's row is named "floor"."""

    entrant: str
    role: str
    model: str
    cold_start_s: float
    idle_rss_mib: float
    idle_pss_mib: float
    loaded_pss_mib: float
    peak_rss_mib: float


@dataclass(frozen=True)
class Limit:
    """One offline loop, over the repetitions. `one_image_ms` is the best median of one image at a time."""

    name: str
    model: str
    split: list[int]
    images_per_s: float
    one_image_ms: float


def medians(rows: Iterable[Stretch], entrants: Sequence[Entrant]) -> list[Median]:
    """One for each entrant, network, protocol and load, in the order in which they were measured."""
    groups: dict[tuple[object, ...], list[Stretch]] = defaultdict(list)
    for row in rows:
        groups[row.entrant, row.model, row.protocol, row.connections, bool(row.rate_per_s)].append(row)
    roles = {entrant.name: entrant.role for entrant in entrants}
    return [_median(group, roles[group[0].entrant]) for group in groups.values()]


def _median(group: list[Stretch], role: str) -> Median:
    speeds = [row.measured.load.requests_per_s for row in group]
    first = group[0]
    return Median(
        entrant=first.entrant,
        role=role,
        point=dict(first.point),
        model=first.model,
        protocol=first.protocol,
        connections=first.connections,
        rate_per_s=_middle((row.rate_per_s for row in group), 1),
        images_per_s=_middle(speeds, 2),
        spread=round((max(speeds) - min(speeds)) / statistics.median(speeds), 3),
        **{field: _middle(getattr(row.measured.load, field) for row in group) for field in LATENCIES},
        server_cores=_middle(row.measured.server_cores for row in group),
        client_cores=_middle(row.measured.client_cores for row in group),
        disturbed=sum(row.is_disturbed for row in group),
        repetitions=len(group),
    )


def _middle(values: Iterable[float], digits: int = 3) -> float:
    return round(statistics.median(values), digits)


def processes(rows: Rows, entrants: Sequence[Entrant]) -> list[Process]:
    """The floor and every entrant, for each network."""
    roles = {entrant.name: entrant.role for entrant in entrants}
    found = []
    for model in dict.fromkeys(row.model for row in rows.floors):
        floors = [row for row in rows.floors if row.model == model]
        prints = [row.footprint for row in floors]
        found.append(_process("floor", "limit", model, [row.seconds for row in floors], prints, prints))
        for name in dict.fromkeys(row.entrant for row in rows.starts if row.model == model):
            starts = [row for row in rows.starts if (row.model, row.entrant) == (model, name)]
            seconds = [row.cold_start_s for row in starts]
            idle, loaded = [row.idle for row in starts], [row.loaded for row in starts]
            found.append(_process(name, roles[name], model, seconds, idle, loaded))
    return found


def _process(
    name: str, role: str, model: str, seconds: list[float], idle: list[Footprint], loaded: list[Footprint]
) -> Process:
    return Process(
        entrant=name,
        role=role,
        model=model,
        cold_start_s=_middle(seconds),
        idle_rss_mib=_middle((one.rss_mib for one in idle), 1),
        idle_pss_mib=_middle((one.pss_mib for one in idle), 1),
        loaded_pss_mib=_middle((one.pss_mib for one in loaded), 1),
        peak_rss_mib=_middle((one.peak_rss_mib for one in loaded), 1),
    )


def limits(rows: Rows) -> list[Limit]:
    """One for each limit and network: the medians at its best split, and of one image at a time."""
    found = []
    for name, model in dict.fromkeys((row.name, row.model) for row in rows.limits):
        some = [row for row in rows.limits if (row.name, row.model) == (name, model)]
        speeds = {
            tuple(one.split): _middle((row.images_per_s for row in some if row.split == one.split), 2) for one in some
        }
        split = max(speeds, key=lambda taken: speeds[taken])
        alone = [row.batch_ms for row in some if row.split[0] == row.split[2] == 1]
        found.append(Limit(name, model, list(split), speeds[split], _middle(alone)))
    return found
