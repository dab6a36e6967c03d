"""What a person sees: a table on stdout, drawn by rich on a terminal and plain elsewhere."""

import sys
from collections.abc import Sequence

from bench.protocols.summary import Median

HEADERS = ("server", "load", "conn", "req/s", "+-%", "p50", "p95", "p99", "cpu", "cli", "MiB", "")
CAPTION = "p50, p95, p99 in ms; cpu, cli: cores of server and client; *: disturbed once or more"


def table(found: Sequence[Median]) -> None:
    """All medians, the fastest first within one workload and number of connections."""
    order = sorted(found, key=lambda one: (one.workload != "tiny", one.workload, one.connections, -one.requests_per_s))
    rows = [_cells(one) for one in order]
    if sys.stdout.isatty():
        _rich(rows)
    else:
        widths = [max(map(len, column)) for column in zip(HEADERS, *rows, strict=True)]
        for row in (HEADERS, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print(CAPTION)


def _cells(one: Median) -> tuple[str, ...]:
    speed = f"{one.requests_per_s:.0f}"
    latencies = (f"{value:.{1 if value < 100 else 0}f}" for value in (one.p50_ms, one.p95_ms, one.p99_ms))
    cores = (f"{one.server_cores:.2f}", f"{one.client_cores:.2f}")
    note = "*" if one.disturbed else ""
    spread = f"{50 * one.spread:.0f}"
    return (
        one.entrant,
        one.workload,
        str(one.connections),
        speed,
        spread,
        *latencies,
        *cores,
        f"{one.rss_mib:.0f}",
        note,
    )


def _rich(rows: Sequence[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    drawn = Table(caption=CAPTION, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for number, header in enumerate(HEADERS):
        drawn.add_column(header, justify="left" if number < 2 else "right", no_wrap=True)
    for before, row in zip((None, *rows), rows, strict=False):
        if before and before[1:3] != row[1:3]:
            drawn.add_section()
        drawn.add_row(*row, style="bold" if row[0] == "ours" else None)
    Console().print(drawn)
