"""The section of docs/reference/benchmarks.md about the controller, from a result file. Called by bench/report.py."""

from typing import Any

from bench.harness import markdown

Result = dict[str, Any]

MEANINGS = {
    "create": "seconds from the first of so many, applied at once, until all have their InferenceService",
    "status": "seconds until all have their status",
    "rss": "memory of the controller with so many, MB",
    "idle_writes": "writes while nothing changes, but for the leader's Lease",
    "restart_writes": "writes after a restart, nothing being changed",
    "restart_s": "seconds from the restart until all have been looked at",
    "edit_p95_s": "seconds from one edit among many until its InferenceService has it, 95th percentile of 40",
    "broken_edit_p95_s": "the same beside 50 that cannot be made and are tried again and again",
    "vs_go_controller": "`create` over the time in which the controller-manager makes a ReplicaSet for as many Deployments",
    "delete": "seconds from the first of so many deletions, at once, until the garbage collector has removed all InferenceServices",
    "fresh_beside_deletes_s": "seconds until one that is applied right after these deletions has its InferenceService",
    "floor": "seconds in which a client that only writes has made the same objects, without a controller",
    "vs_floor": "`create` over that time",
    "failover_s": "seconds from a leader that stands still until the standby has made the next InferenceService",
}


def text(result: Result, picture: str) -> str:
    """Everything between the markers."""
    found = result["result"]
    meanings = {name: MEANINGS.get(name) or MEANINGS[name.split("_")[0]] for name in found}
    settings = result["settings"]
    return (
        "\n\n".join(
            [
                f"{markdown.machine(result)} {settings['idle_s']:g} s without a change. One run.",
                f"![Cost of each model while their number grows]({picture})",
                markdown.ratios(found, meanings),
                _growth(result["growth"]),
            ]
        )
        + "\n"
    )


def _growth(growth: list[Result]) -> str:
    headers = (
        "models",
        "of them new",
        "InferenceServices s",
        "statuses s",
        "RSS MB",
        *(f"{name} ms each" for name in _COSTS),
    )
    rows = [
        (
            f"{one['models']:,}",
            f"{one['added']:,}",
            *(f"{one[name]:.1f}" for name in ("create_s", "status_s")),
            f"{one['rss_mb']:.0f}",
            *(f"{one[field]:.1f}" for field in _COSTS.values()),
        )
        for one in growth
    ]
    return markdown.table(headers, rows)


_COSTS = {"controller": "controller_ms", "API server": "api_server_ms", "etcd": "etcd_ms"}


def panels(result: Result) -> list[dict[str, Any]]:
    """Processor time and memory by size."""
    growth = result["growth"]

    def named(field: str, role: str, digits: int) -> list[dict[str, Any]]:
        return [markdown.bar(f"{one['models']:,} models", one[field], role, digits) for one in growth]

    return [
        markdown.panel("Processor time of the controller for each new model, ms", named("controller_ms", "ours", 1)),
        markdown.panel("Processor time of the API server for each new model, ms", named("api_server_ms", "other", 1)),
        markdown.panel("Memory of the controller, MB", named("rss_mb", "ours", 0)),
    ]
