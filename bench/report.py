"""Tables and a picture for docs/reference/benchmarks.md: `.venv/bin/python bench/report.py [RESULT.json]`.

Without an argument it takes bench/results/protocols.json. What stands between the page's two markers is replaced; the
prose around it is written by hand.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "bench" / "results" / "protocols.json"
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
PICTURE = PAGE.with_suffix(".svg")
BEGIN, END = "<!-- figures: made by bench/report.py -->", "<!-- end of figures -->"

TITLES = {
    "tiny": "One row of V2 JSON",
    "grpc": "The same row over gRPC",
    "binary": "A binary tensor over V2 REST",
}
MEANINGS = {
    "tiny_vs_kserve": "one row, ours against the KServe SDK, one worker each",
    "tiny_vs_best_peer": "one row, ours with one worker against the best of the peers",
    "tiny_vs_bare_asgi": "one row, ours against the bare ASGI app",
    "tiny_p99_ms": "one row, our 99th percentile in ms",
    "grpc_vs_kserve": "gRPC, ours against the KServe SDK",
    "binary_vs_kserve": "binary tensor, ours against the KServe SDK",
    "grpc_native_vs_kserve": "gRPC with `--grpc-server=native`, which is not the default, against the KServe SDK",
}


def main() -> None:
    result = json.loads((Path(sys.argv[1]) if len(sys.argv) > 1 else RESULT).read_text())
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(before + BEGIN + "\n\n" + section(result) + "\n" + END + after)
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULT)
    print(f"{PAGE.relative_to(ROOT)} and {PICTURE.name} are written")


def section(result: dict[str, Any]) -> str:
    """Everything between the markers."""
    parts = [_heading(result), f"![Requests per second]({PICTURE.name})", _ratios(result["result"])]
    for workload, title in TITLES.items():
        medians = [one for one in result["medians"] if one["workload"] == workload]
        if medians:
            parts.append(f"### {title}\n\n{_medians(medians)}")
    parts.append(f"### The points of the grid\n\n{_points(result)}")
    return "\n\n".join(parts) + "\n"


def _heading(result: dict[str, Any]) -> str:
    machine, settings = result["machine"], result["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"`{result['command']}` on {result['date']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}. {versions}. "
        f"{settings['repetitions']} repetitions, {settings['duration_s']} s for a headline point."
    )


def _ratios(figures: dict[str, float | None]) -> str:
    rows = [(name, MEANINGS[name], "-" if value is None else str(value)) for name, value in figures.items()]
    return _table(("figure", "meaning", "value"), rows)


def _medians(medians: list[dict[str, Any]]) -> str:
    order = sorted(medians, key=lambda one: (one["connections"], -one["requests_per_s"]))
    rows = [
        (
            one["entrant"],
            str(one["connections"]),
            f"{one['requests_per_s']:,.0f}",
            f"{50 * one['spread']:.0f} %",
            *(f"{one[field]:.2f}" for field in ("p50_ms", "p95_ms", "p99_ms", "server_cores", "client_cores")),
            f"{one['rss_mib']:.0f}",
            f"{one['disturbed']} of {one['repetitions']}" if one["disturbed"] else "",
        )
        for one in order
    ]
    headers = ("server", "connections", "req/s", "±", "p50 ms", "p95 ms", "p99 ms", "cores, server", "cores, client")
    return _table((*headers, "RSS MiB", "disturbed"), rows)


def _points(result: dict[str, Any]) -> str:
    rows = []
    for name, best in result["best"].items():
        swept = [row for row in result["sweep"] if row["entrant"] == name]
        for row in sorted(swept, key=lambda row: -row["requests_per_s"]):
            rows.append((name, _point(row["point"]), f"{row['requests_per_s']:,.0f}", _chosen(row["point"], best)))
        if not swept:
            rows.append((name, _point(best), "", "yes"))
    return _table(("server", "point", "req/s in the sweep", "taken"), rows)


def _chosen(point: dict[str, Any], best: dict[str, Any]) -> str:
    return "yes" if point == best else ""


def _point(point: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in point.items())


def _table(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(result: Path) -> None:
    """The picture, by matplotlib in an environment of its own: it is no dependency of the product."""
    sys.path.insert(0, str(ROOT))
    from bench.harness import environments

    python = environments.locked(ROOT / "bench" / "plot" / "requirements.lock")
    subprocess.run([str(python), str(ROOT / "bench" / "plot" / "draw.py"), str(result), str(PICTURE)], check=True)


if __name__ == "__main__":
    main()
