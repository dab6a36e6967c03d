"""The section of docs/reference/benchmarks.md about the protocols, from a result file. Called by bench/report.py."""

from typing import Any

from bench.harness import markdown

Result = dict[str, Any]

TITLES = {
    "tiny": "One row of V2 JSON",
    "grpc": "The same row over gRPC",
    "binary": "A binary tensor over V2 REST",
}
PANELS = {
    "tiny": "one row of V2 JSON, requests/s",
    "grpc": "the same row over gRPC, requests/s",
    "binary": "a binary tensor of 588 KiB, requests/s",
}
MEANINGS = {
    "tiny_vs_kserve": "one row, ours against the KServe SDK, one worker each",
    "tiny_vs_best_peer": "one row, ours with one worker against the best of the peers",
    "tiny_vs_bare_asgi": "one row, ours against the bare ASGI app",
    "tiny_p99_ms": "one row, our 99th percentile in ms",
    "grpc_vs_kserve": "gRPC, ours against the KServe SDK",
    "binary_vs_kserve": "binary tensor, ours against the KServe SDK",
    "access_cost": "the share of the throughput that metrics, request ids, an API key, a rate limit in memory and a log line take",
    "grpc_grpcio_vs_kserve": "gRPC without the extra `fast-grpc`, on grpcio, against the KServe SDK",
}


def text(result: Result, picture: str) -> str:
    """Everything between the markers."""
    parts = [
        markdown.heading(result),
        f"![Requests per second]({picture})",
        markdown.ratios(result["result"], MEANINGS),
    ]
    for workload, title in TITLES.items():
        medians = [one for one in result["medians"] if one["workload"] == workload]
        if medians:
            parts.append(f"### {title}\n\n{_medians(medians)}")
    swept = [(row["entrant"], row["point"], row["requests_per_s"]) for row in result["sweep"]]
    parts.append(f"### The points of the grid\n\n{markdown.points(result['best'], swept, 'req/s')}")
    return "\n\n".join(parts) + "\n"


def _medians(medians: list[Result]) -> str:
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
    return markdown.table((*headers, "RSS MiB", "disturbed"), rows)


def panels(result: Result) -> list[dict[str, Any]]:
    """Requests per second at each workload's headline: bench/protocols.toml measures that one last."""
    found = []
    for workload, title in PANELS.items():
        of_workload = [one for one in result["medians"] if one["workload"] == workload]
        connections = of_workload[-1]["connections"] if of_workload else 0
        shown = [one for one in of_workload if one["connections"] == connections]
        shown.sort(key=lambda one: -one["requests_per_s"])
        bars = [
            markdown.bar(f"{one['entrant']} (c={connections})", one["requests_per_s"], one["role"]) for one in shown
        ]
        if bars:
            found.append(markdown.panel(title, bars))
    return found
