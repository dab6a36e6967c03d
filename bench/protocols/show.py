"""What a person sees: progress on stderr, a table on stdout, drawn by rich on a terminal and plain elsewhere."""

import sys
import time
from collections.abc import Sequence

from bench.protocols.summary import Median

HEADERS = (
    "server",
    "workload",
    "conn.",
    "req/s",
    "+-%",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "server",
    "client",
    "RSS MiB",
    "",
)
STARTED = time.perf_counter()


def progress(line: str) -> None:
    """One line with the seconds since the start."""
    print(f"[{time.perf_counter() - STARTED:6.0f} s] {line}", file=sys.stderr, flush=True)


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


def _cells(one: Median) -> tuple[str, ...]:
    speed = f"{one.requests_per_s:.0f}"
    latencies = (f"{value:.2f}" for value in (one.p50_ms, one.p95_ms, one.p99_ms))
    cores = (f"{one.server_cores:.2f}", f"{one.client_cores:.2f}")
    note = f"{one.disturbed} disturbed" if one.disturbed else ""
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
    from rich.console import Console
    from rich.table import Table

    drawn = Table(caption="server, client: CPU in cores")
    for number, header in enumerate(HEADERS):
        drawn.add_column(header, justify="left" if number < 2 else "right")
    for before, row in zip((None, *rows), rows, strict=False):
        if before and before[1:3] != row[1:3]:
            drawn.add_section()
        drawn.add_row(*row, style="bold" if row[0] == "ours" else None)
    Console().print(drawn)
