"""Rows of all repetitions -> the ratios of the RESULT line. Pure.

A ratio is taken within each repetition, between neighbours in time, because the machine's own speed changes from one to
the next; its median over the repetitions is what counts, and of networks, loads and protocols the worst.
"""

import statistics
from collections.abc import Callable, Sequence

from bench.predictor.plan import Entrant, Plan, limit_of
from bench.predictor.rows import FloorRow, LimitRow, Rows, Start

CONVOLUTIONAL = "resnet18"
STARTED = "ours-eager"
"""Whose cold start and idle memory are judged: the floor is torch's, and this is what a start without options gives."""


def result(rows: Rows, plan: Plan, entrants: Sequence[Entrant]) -> dict[str, float]:
    """The figures of the last line; what was not measured is not there."""
    figures = _Figures(rows, plan, entrants)
    found = {
        "images_vs_limit": figures.worst(min, figures.vs_limit, *(one for one in entrants if one.is_ours)),
        **{
            f"images_{engine}_vs_best_peer": figures.worst(
                min, figures.vs_best_peer, *figures.named(f"ours-{engine}"), models=models
            )
            for engine, models in (("fp32", plan.models), ("auto", plan.models), ("int8", (CONVOLUTIONAL,)))
        },
        "image_p50_vs_offline": figures.worst(max, figures.p50_vs_offline, *(one for one in entrants if one.is_ours)),
        "cold_start_vs_floor": figures.worst(max, figures.cold_start_vs_floor, *figures.named(STARTED)),
        "cold_start_vs_best_peer": figures.worst(max, figures.cold_start_vs_best_peer, *figures.named(STARTED)),
        "idle_pss_vs_floor": figures.worst(max, figures.idle_pss_vs_floor, *figures.named(STARTED)),
    }
    return {name: round(value, 3) for name, value in found.items() if value is not None}


class _Figures:
    """Ratios of one entrant of ours with one network; each is the list of the repetitions' ratios."""

    def __init__(self, rows: Rows, plan: Plan, entrants: Sequence[Entrant]) -> None:
        self._rows, self._plan, self._entrants = rows, plan, entrants
        self._peers = {one.name for one in entrants if not one.is_ours}
        self._numbers = sorted({row.repetition for row in rows.floors})

    def named(self, name: str) -> list[Entrant]:
        return [one for one in self._entrants if one.name == name]

    def worst(
        self,
        which: Callable[[list[float]], float],
        ratios: Callable[[Entrant, str], list[list[float]]],
        *entrants: Entrant,
        models: Sequence[str] = (),
    ) -> float | None:
        """The worst median of all networks, settings and loads."""
        found = [
            statistics.median(some)
            for entrant in entrants
            for model in models or self._plan.models
            for some in ratios(entrant, model)
            if some
        ]
        return which(found) if found else None

    def vs_limit(self, entrant: Entrant, model: str) -> list[list[float]]:
        """At each judged load in each protocol, beside the offline loops right before and after it."""
        name = limit_of(entrant)
        return [
            [
                speed / statistics.mean(row.images_per_s for row in limit)
                for number in self._numbers
                if (limit := self._limits(number, name, model, protocol, connections))
                for speed in self._speeds(number, {entrant.name}, model, connections, protocol)
            ]
            for connections in self._plan.judged
            for protocol in self._protocols(entrant, model)
        ]

    def vs_best_peer(self, entrant: Entrant, model: str) -> list[list[float]]:
        """At each judged load; the slower protocol of ours against the faster of theirs."""
        return [
            [
                min(ours) / max(theirs)
                for number in self._numbers
                if (ours := self._speeds(number, {entrant.name}, model, connections))
                and (theirs := self._speeds(number, self._peers, model, connections))
            ]
            for connections in self._plan.judged
        ]

    def p50_vs_offline(self, entrant: Entrant, model: str) -> list[list[float]]:
        """One connection against one image at a time on all cores."""
        name = limit_of(entrant)
        return [
            [
                row.measured.load.p50_ms / statistics.mean(limit.batch_ms for limit in alone)
                for row in self._rows.stretches
                if (row.entrant, row.model, row.connections, row.protocol) == (entrant.name, model, 1, protocol)
                if (alone := self._limits(row.repetition, name, model, protocol, 1))
            ]
            for protocol in self._protocols(entrant, model)
        ]

    def cold_start_vs_floor(self, entrant: Entrant, model: str) -> list[list[float]]:
        return [[start.cold_start_s / floor.seconds for start, floor in self._with_floor(entrant, model)]]

    def idle_pss_vs_floor(self, entrant: Entrant, model: str) -> list[list[float]]:
        return [[start.idle.pss_mib / floor.footprint.pss_mib for start, floor in self._with_floor(entrant, model)]]

    def cold_start_vs_best_peer(self, entrant: Entrant, model: str) -> list[list[float]]:
        starts = [row for row in self._rows.starts if row.model == model]
        return [
            [
                start.cold_start_s / min(theirs)
                for start in starts
                if start.entrant == entrant.name
                if (
                    theirs := [
                        row.cold_start_s
                        for row in starts
                        if row.entrant in self._peers and row.repetition == start.repetition
                    ]
                )
            ]
        ]

    def _with_floor(self, entrant: Entrant, model: str) -> list[tuple[Start, FloorRow]]:
        return [
            (start, floor)
            for start in self._rows.starts
            for floor in self._rows.floors
            if (start.entrant, start.model) == (entrant.name, model)
            and (floor.repetition, floor.model) == (start.repetition, model)
        ]

    def _protocols(self, entrant: Entrant, model: str) -> list[str]:
        rows = self._rows.stretches
        return list(dict.fromkeys(row.protocol for row in rows if (row.entrant, row.model) == (entrant.name, model)))

    def _speeds(
        self, number: int, names: set[str], model: str, connections: int, protocol: str | None = None
    ) -> list[float]:
        return [
            row.measured.load.requests_per_s
            for row in self._rows.stretches
            if row.entrant in names
            and (row.repetition, row.model, row.connections) == (number, model, connections)
            and protocol in (None, row.protocol)
        ]

    def _limits(self, number: int, name: str, model: str, protocol: str, connections: int) -> list[LimitRow]:
        """Those beside one stretch."""
        wanted = (number, name, model, protocol, connections)
        rows = self._rows.limits
        return [row for row in rows if (row.repetition, row.name, row.model, row.protocol, row.connections) == wanted]


def line(figures: dict[str, float]) -> str:
    """The last line of stdout."""
    return " ".join(["RESULT", *(f"{name}={value}" for name, value in figures.items())])
