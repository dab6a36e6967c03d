"""Points of grids, and the best ones that an earlier sweep found. Read by the plans of both benchmarks."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.harness.errors import BadInput

Point = dict[str, Any]


def points(entry: Mapping[str, Any]) -> tuple[Point, ...]:
    """Every combination of `grid`, and what `also` adds."""
    grid = entry.get("grid", {})
    combined = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return (*combined, *entry.get("also", []))


def committed_best(grids: Mapping[str, Sequence[Point]], file: Path) -> dict[str, Point]:
    """The points that an earlier sweep chose, by name, for --skip-sweep."""
    known = json.loads(file.read_text()) if file.exists() else {}
    chosen = {}
    for name, grid in grids.items():
        if len(grid) == 1:
            chosen[name] = grid[0]
        elif known.get(name) in grid:
            chosen[name] = known[name]
        else:
            raise BadInput(
                f"--skip-sweep: {file.name} has no point of today's grid for {name}; run without it, "
                f"with --save-best-points"
            )
    return chosen


def save_best(best: Mapping[str, Point], file: Path) -> None:
    """For later runs with --skip-sweep; what did not take part keeps its point."""
    known = json.loads(file.read_text()) if file.exists() else {}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(dict(sorted({**known, **best}.items())), indent=2) + "\n")
