"""Measured cold starts as a table with bars, as plain lines, or as JSON. Called by `cold_start`."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from moorage.cli.bench.measure import STAGES, ColdStart

COLOURS: Final = dict(zip(STAGES, ("#8a9bb0", "#1f5fa8", "#c9a227", "#3f8f5f", "#b4513d", "#6b4a8a"), strict=True))
"""Of the stages, in the table's bars and in the picture."""
_BAR: Final = 40
"""Characters of the longest bar."""


@dataclass(frozen=True)
class Measured:
    """All runs, and as many of the floor if it was asked for."""

    runs: tuple[ColdStart, ...]
    floors: tuple[ColdStart, ...] = ()

    @property
    def total(self) -> float:
        """Seconds of the median run."""
        return median(run.total for run in self.runs)

    @property
    def ratio(self) -> float | None:
        """Of the medians."""
        return self.total / median(one.total for one in self.floors) if self.floors else None


def _medians(runs: Sequence[ColdStart]) -> dict[str, float]:
    """Each stage's; they need not add up to the median of the totals."""
    return {stage: median(run.seconds.get(stage, 0.0) for run in runs) for stage in STAGES}


def as_json(measured: Measured) -> dict[str, Any]:
    """Seconds, to the millisecond."""
    told: dict[str, Any] = {"cold_start": _told(measured.runs)}
    if measured.ratio is not None:
        told |= {"floor": _told(measured.floors), "ratio": round(measured.ratio, 3)}
    return told


def _told(runs: Sequence[ColdStart]) -> dict[str, Any]:
    return {
        "total_s": round(median(run.total for run in runs), 3),
        "stages_s": _rounded(_medians(runs)),
        "runs": [{"total_s": round(run.total, 3), "stages_s": _rounded(run.seconds)} for run in runs],
    }


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 3) for stage, value in seconds.items()}


def as_text(measured: Measured, *, bars: bool) -> RenderableType:
    """For people: with bars on a terminal, else lines that can be searched and compared."""
    return _table(measured) if bars else Text("\n".join(_lines(measured)))


def _rows(measured: Measured) -> list[tuple[str, list[float], float]]:
    """Name, each run, and the median."""
    rows = [
        (stage, [run.seconds[stage] for run in measured.runs], value)
        for stage, value in _medians(measured.runs).items()
    ]
    rows.append(("total", [run.total for run in measured.runs], measured.total))
    if measured.floors:
        totals = [one.total for one in measured.floors]
        rows.append(("floor", totals, median(totals)))
    return rows


def _lines(measured: Measured) -> list[str]:
    lines = [
        f"{name:<13}{middle:7.2f} s   ({', '.join(f'{value:.2f}' for value in values)})"
        for name, values, middle in _rows(measured)
    ]
    return lines + _ratio(measured)


def _ratio(measured: Measured) -> list[str]:
    return [] if measured.ratio is None else [f"{'ratio':<13}{measured.ratio:7.2f}"]


def _table(measured: Measured) -> Table:
    table = Table(show_edge=False, pad_edge=False, caption_justify="left", caption="".join(_ratio(measured)) or None)
    table.add_column("seconds", style="bold")
    for number in range(1, len(measured.runs) + 1):
        table.add_column(f"run {number}", justify="right")
    table.add_column("median", justify="right", style="bold")
    table.add_column("")
    rows = _rows(measured)
    longest = max(middle for _, _, middle in rows)
    begin = 0.0
    for name, values, middle in rows:
        if name == "total":
            table.add_section()
            begin = 0.0
        first, last = round(begin / longest * _BAR), round(min(begin + middle, longest) / longest * _BAR)
        bar = Text(" " * first + "█" * (last - first), style=COLOURS.get(name, "default"))
        table.add_row(name, *(f"{value:.2f}" for value in values), f"{middle:.2f}", bar)
        begin = begin + middle if name in STAGES else 0.0
    return table
