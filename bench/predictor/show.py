"""What a person sees at the end: three tables on stdout, drawn by rich on a terminal and plain elsewhere."""

import sys
from collections.abc import Sequence

from bench.predictor.summary import Limit, Median, Process

Cells = tuple[str, ...]

LOADS = ("server", "network", "how", "load", "images/s", "+-%", "p50", "p95", "p99", "cpu", "cli", "")
PROCESSES = ("process", "network", "cold s", "idle RSS", "idle PSS", "loaded PSS", "peak RSS")
LIMITS = ("offline loop", "network", "split", "images/s", "one image ms")
CAPTION = "p50, p95, p99 in ms; cpu, cli: cores of server and client; *: disturbed once or more; memory in MiB"


def tables(loads: Sequence[Median], processes: Sequence[Process], limits: Sequence[Limit]) -> None:
    """All medians."""
    order = sorted(loads, key=lambda one: (one.model, one.rate_per_s > 0, one.connections, -one.images_per_s))
    _table(LOADS, [load_cells(one) for one in order])
    _table(PROCESSES, [process_cells(one) for one in processes])
    _table(LIMITS, [limit_cells(one) for one in limits])
    print(CAPTION)


def load_cells(one: Median) -> Cells:
    """One row; the same for the terminal and for the docs."""
    return (
        one.entrant,
        one.model.split("_")[0],
        one.protocol,
        f"{one.rate_per_s:.0f}/s" if one.rate_per_s else f"c={one.connections}",
        f"{one.images_per_s:.1f}",
        f"{50 * one.spread:.0f}",
        *(f"{value:.{1 if value < 100 else 0}f}" for value in (one.p50_ms, one.p95_ms, one.p99_ms)),
        f"{one.server_cores:.2f}",
        f"{one.client_cores:.2f}",
        "*" if one.disturbed else "",
    )


def process_cells(one: Process) -> Cells:
    memory = (one.idle_rss_mib, one.idle_pss_mib, one.loaded_pss_mib, one.peak_rss_mib)
    return (
        one.entrant,
        one.model.split("_")[0],
        f"{one.cold_start_s:.2f}",
        *(f"{value:.0f}" for value in memory),
    )


def limit_cells(one: Limit) -> Cells:
    workers, threads, batch = one.split
    split = f"{workers} x {threads} threads, batch {batch}"
    return one.name, one.model.split("_")[0], split, f"{one.images_per_s:.1f}", f"{one.one_image_ms:.1f}"


def _table(headers: Cells, rows: Sequence[Cells]) -> None:
    if not rows:
        return
    if sys.stdout.isatty():
        _rich(headers, rows)
        return
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    for row in (headers, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def _rich(headers: Cells, rows: Sequence[Cells]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, header in enumerate(headers):
        drawn.add_column(header, justify="left" if number < 3 else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*row, style="bold" if row[0].startswith("ours") else None)
    Console().print(drawn)
