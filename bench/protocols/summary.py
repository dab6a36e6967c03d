"""Rows of all repetitions -> medians per entrant, workload and connections -> the ratios of the RESULT line. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.protocols.campaign import Row
from bench.protocols.entrants import Entrant, Plan

FIELDS = ("p50_ms", "p95_ms", "p99_ms")


@dataclass(frozen=True)
class Median:
    """What one entrant did at one number of connections, over the repetitions."""

    entrant: str
    role: str
    point: dict[str, object]
    workload: str
    connections: int
    requests_per_s: float
    spread: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    server_cores: float
    client_cores: float
    rss_mib: float
    start_s: float
    disturbed: int
    repetitions: int


def medians(rows: Iterable[Row], entrants: Sequence[Entrant]) -> list[Median]:
    """One per entrant, workload and connections, in the order of the plan."""
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.entrant, row.workload, row.connections].append(row)
    roles = {entrant.name: entrant.role for entrant in entrants}
    return [_median(group, roles[entrant]) for (entrant, _, _), group in groups.items()]


def _median(group: list[Row], role: str) -> Median:
    def middle(values: Iterable[float], digits: int = 3) -> float:
        return round(statistics.median(values), digits)

    speeds = [row.measured.load.requests_per_s for row in group]
    first = group[0]
    return Median(
        entrant=first.entrant,
        role=role,
        point=first.point,
        workload=first.workload,
        connections=first.connections,
        requests_per_s=middle(speeds, 1),
        spread=round((max(speeds) - min(speeds)) / statistics.median(speeds), 3),
        **{field: middle(getattr(row.measured.load, field) for row in group) for field in FIELDS},
        server_cores=middle(row.measured.server_cores for row in group),
        client_cores=middle(row.measured.client_cores for row in group),
        rss_mib=middle((row.measured.rss_mib for row in group), 1),
        start_s=middle((row.start_s for row in group), 2),
        disturbed=sum(row.is_disturbed for row in group),
        repetitions=len(group),
    )


def result(found: Sequence[Median], plan: Plan) -> dict[str, float | None]:
    """The figures of the last line; None for what was not measured."""

    def speeds(workload: str, *roles: str) -> list[float]:
        headline = plan.headline(workload)
        return [
            one.requests_per_s
            for one in found
            if one.workload == workload and one.connections == headline and one.role in roles
        ]

    def ratio(workload: str, *roles: str, of: str = "ours") -> float | None:
        ours, others = speeds(workload, of), speeds(workload, *roles)
        return round(ours[0] / max(others), 2) if ours and others else None

    kept = ratio("tiny", "bare", of="guarded")
    p99 = [
        one.p99_ms
        for one in found
        if one.role == "ours" and one.workload == "tiny" and one.connections == plan.headline("tiny")
    ]
    return {
        "tiny_vs_kserve": ratio("tiny", "kserve"),
        "tiny_vs_best_peer": ratio("tiny", "kserve", "peer"),
        "tiny_vs_bare_asgi": ratio("tiny", "limit"),
        "tiny_p99_ms": p99[0] if p99 else None,
        "grpc_vs_kserve": ratio("grpc", "kserve"),
        "binary_vs_kserve": ratio("binary", "kserve"),
        "grpc_grpcio_vs_kserve": ratio("grpc", "kserve", of="option"),
        "access_cost": None if kept is None else round(1 - kept, 2),
    }


def line(figures: dict[str, float | None]) -> str:
    """The last line of stdout."""
    return "RESULT " + " ".join(f"{name}={'n/a' if value is None else value}" for name, value in figures.items())
